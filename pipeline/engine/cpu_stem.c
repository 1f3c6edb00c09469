/* A network's first convolution, of three channels, with the ReLU and the pooling behind it.
 *
 * General kernels leave most of a vector register empty here, whose width is that of many channels,
 * and write the largest activation of the network to memory to read it once. These fill registers
 * with results: forward with channels, backward with taps. A row of the activation lives in the
 * cache only, in float: maxima are chosen before anything is rounded.
 *
 * Backward, a row of the gradient times the taps is what each of its pixels sends to each pixel of
 * its window; a row of the picture gathers what was sent to it.
 */
#include "cpu_kernels.h"

#include <stdlib.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { COLOURS = 3 };

struct stem {
    int n, height, width;        /* of the picture */
    int rows, columns, channels; /* of the convolution's result */
    int size[2], stride[2], padding[2]; /* stride[1] is 1 or 2 */
};

/* PIXELS times two vectors of sums, and what they are made of, fit the registers. */
#ifdef __AVX512F__
enum { LANES = 16, PIXELS = 12 };
#else
enum { LANES = 8, PIXELS = 6 };
#endif
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t eight_bits __attribute__((vector_size(32)));

#define ALWAYS static inline __attribute__((always_inline))

/* Call block(column, pixels, ...) until all columns are done: PIXELS at a time, of which the last
 * may do some again; one at a time where there are fewer. */
#define EACH_BLOCK(columns, block, ...)                                                            \
    do {                                                                                           \
        const int fits = (columns) - PIXELS;                                                       \
        if (fits < 0)                                                                              \
            for (int column = 0; column < (columns); column++)                                     \
                block(column, 1, __VA_ARGS__);                                                     \
        else                                                                                       \
            for (int column = 0; column < (columns); column += PIXELS)                             \
                block(smaller(column, fits), PIXELS, __VA_ARGS__);                                 \
    } while (0)

/* How many results are made at once, and what their number has to be a multiple of. */
int stem_width(void) { return 2 * LANES; }

/* Whether products of pairs of bfloat16 are summed in float by one instruction. */
int stem_pairs(void)
{
#ifdef __AVX512F__
    return __builtin_cpu_supports("avx512bf16") != 0;
#else
    return 0;
#endif
}

/* sum[p] += x[p * step + k] * w[k], over `count` k. */
ALWAYS void multiply(vector (*sum)[2], int pixels, const float *x, const int step, const float *w,
                     long w_step, int count)
{
    for (int k = 0; k < count; k++, w += w_step) {
        const vector first = *(const vector *)w, second = *(const vector *)(w + LANES);
#pragma GCC unroll 16
        for (int p = 0; p < pixels; p++) {
            sum[p][0] += x[p * step + k] * first;
            sum[p][1] += x[p * step + k] * second;
        }
    }
}

/* Convolve one row: `x` are the window's rows, with their padding. */
ALWAYS void convolve_block(int column, int pixels, const float *const *x, const float *weights,
                           const float *bias, float *to, const struct stem *s, const int step)
{
    const int along = s->size[1] * COLOURS;
    for (int c = 0; c < s->channels; c += 2 * LANES) {
        vector sum[PIXELS][2];
#pragma GCC unroll 16
        for (int p = 0; p < pixels; p++)
            for (int i = 0; i < 2; i++)
                sum[p][i] = *(const vector *)(bias + c + i * LANES);
        for (int i = 0; i < s->size[0]; i++)
            multiply(sum, pixels, x[i] + column * step, step,
                     weights + (long)i * along * s->channels + c, s->channels, along);
#pragma GCC unroll 16
        for (int p = 0; p < pixels; p++)
            for (int i = 0; i < 2; i++)
                *(vector *)(to + (long)(column + p) * s->channels + c + i * LANES) = sum[p][i];
    }
}

/* `padded` holds the window's rows, and has zeros where their padding is. */
static void convolve_row(const float *x, const float *weights, const float *bias, float *to,
                         float *padded, const struct stem *s, long row)
{
    const long line = (long)(s->width + 2 * s->padding[1]) * COLOURS;
    const int top = row % s->rows * s->stride[0] - s->padding[0];
    const float *window[MOST_ROWS];
    for (int i = 0; i < s->size[0]; i++) {
        float *inner = padded + i * line + s->padding[1] * COLOURS;
        const size_t length = bytes((long)s->width * COLOURS, 0);
        if (top + i >= 0 && top + i < s->height)
            memcpy(inner, x + (row / s->rows * s->height + top + i) * s->width * COLOURS, length);
        else
            memset(inner, 0, length);
        window[i] = padded + i * line;
    }
    if (s->stride[1] == 1)
        EACH_BLOCK(s->columns, convolve_block, window, weights, bias, to, s, COLOURS);
    else
        EACH_BLOCK(s->columns, convolve_block, window, weights, bias, to, s, 2 * COLOURS);
#pragma omp simd
    for (long k = 0; k < (long)s->columns * s->channels; k++)
        to[k] = to[k] > 0 ? to[k] : 0;
}

/* `weights` are [down, along, colour, channel]. `pool` is null for no pooling, which is there for
 * `half` only. Returns whether memory ran out. */
int stem(const float *x, const float *weights, const float *bias, void *y, uint8_t *places,
         const struct stem *s, const struct pooling *pool, int half)
{
    const long line = (long)s->columns * s->channels;
    const int slots = pool ? pool->size[0] : 1;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *padded = calloc((size_t)s->size[0] * (s->width + 2 * s->padding[1]) * COLOURS, 4);
        float *lines = malloc(bytes(line * slots, 0)); /* row r of the convolution is r % slots */
        long done = 0;                                 /* rows before it are there */
        failed = !padded || !lines;
#pragma omp for schedule(static)
        for (long row = 0; row < (long)s->n * (pool ? pool->rows : s->rows); row++) {
            if (!padded || !lines)
                continue;
            if (!pool) {
                convolve_row(x, weights, bias, lines, padded, s, row);
#pragma omp simd
                for (long k = 0; k < line; k++)
                    put(y, row * line + k, lines[k], 1);
                continue;
            }
            const struct reach reach = reach_of(pool, row);
            const long above = row / pool->rows * s->rows + reach.top;
            const void *window[MOST_ROWS];
            for (int i = reach.first; i < reach.end; i++) {
                float *there = lines + (above + i) % slots * line;
                window[i] = there;
                if (above + i >= done) {
                    convolve_row(x, weights, bias, there, padded, s, above + i);
                    done = above + i + 1;
                }
            }
            if (half)
                pool_row(window, y, places, pool, row, 1, 0, 1);
            else
                pool_row(window, y, places, pool, row, 1, 0, 0);
        }
        free(padded);
        free(lines);
    }
    return failed;
}

/* What each pixel of a row of the gradient sends to the pixels of its window, [columns, taps]. */
ALWAYS void send_block(int column, int pixels, const float *g, const float *weights, float *to,
                       int channels, int taps)
{
    g += (long)column * channels;
    to += (long)column * taps;
    for (int t = 0; t < taps; t += 2 * LANES) {
        vector sum[PIXELS][2] = {0};
        if (channels == 64)
            multiply(sum, pixels, g, 64, weights + t, taps, 64);
        else if (channels == 32)
            multiply(sum, pixels, g, 32, weights + t, taps, 32);
        else
            multiply(sum, pixels, g, channels, weights + t, taps, channels);
#pragma GCC unroll 16
        for (int p = 0; p < pixels; p++)
            for (int i = 0; i < 2; i++)
                *(vector *)(to + (long)p * taps + t + i * LANES) = sum[p][i];
    }
}

static void send(const float *g, const float *weights, float *to, int columns, int channels,
                 int taps)
{
    EACH_BLOCK(columns, send_block, g, weights, to, channels, taps);
}

#ifdef __AVX512F__
#define PAIRS __attribute__((target("avx512bf16")))

/* The same for pairs of channels, of the gradient and of the weights. */
PAIRS ALWAYS void send_pairs_block(int column, int pixels, const uint32_t *g,
                                   const uint32_t *weights, float *to, const int count, int taps)
{
    g += (long)column * count;
    to += (long)column * taps;
    for (int t = 0; t < taps; t += 2 * LANES) {
        __m512 sum[PIXELS][2];
#pragma GCC unroll 16
        for (int p = 0; p < pixels; p++)
            sum[p][0] = sum[p][1] = _mm512_setzero_ps();
        for (int k = 0; k < count; k++) {
            const uint32_t *w = weights + (long)k * taps + t;
            const __m512bh first = (__m512bh)_mm512_loadu_si512(w);
            const __m512bh second = (__m512bh)_mm512_loadu_si512(w + LANES);
#pragma GCC unroll 16
            for (int p = 0; p < pixels; p++) {
                const __m512bh seen = (__m512bh)_mm512_set1_epi32(g[p * count + k]);
                sum[p][0] = _mm512_dpbf16_ps(sum[p][0], seen, first);
                sum[p][1] = _mm512_dpbf16_ps(sum[p][1], seen, second);
            }
        }
#pragma GCC unroll 16
        for (int p = 0; p < pixels; p++)
            for (int i = 0; i < 2; i++)
                _mm512_storeu_ps(to + (long)p * taps + t + i * LANES, sum[p][i]);
    }
}

PAIRS static void send_pairs(const void *g, const void *weights, float *to, int columns,
                             int channels, int taps)
{
    switch (channels) {
    case 64: EACH_BLOCK(columns, send_pairs_block, g, weights, to, 32, taps); break;
    case 32: EACH_BLOCK(columns, send_pairs_block, g, weights, to, 16, taps); break;
    default: EACH_BLOCK(columns, send_pairs_block, g, weights, to, channels / 2, taps);
    }
}
#else
static void send_pairs(const void *g, const void *weights, float *to, int columns, int channels,
                       int taps)
{
    (void)g, (void)weights, (void)to, (void)columns, (void)channels, (void)taps; /* never asked */
}
#endif

static inline void masked(const void *g, const void *y, void *to, long first, long count, int half,
                          int half_to)
{
#pragma omp simd
    for (long k = 0; k < count; k++)
        put(to, k, get(y, first + k, half) > 0 ? get(g, first + k, half) : 0, half_to);
}

/* Send row `row` of the gradient at the convolution's result. Without pooling some columns are done
 * at a time, so that memory is read while others are multiplied. */
ALWAYS void send_row(const void *g, const void *y, const uint8_t *places, const void *weights,
                     void *line, float *to, const struct stem *s, const struct pooling *pool,
                     int taps, long row, int half, int pairs)
{
    const int c = s->channels, step = pool ? s->columns : 4 * PIXELS;
    for (int column = 0, count; column < s->columns; column += count) {
        const int left = s->columns - column;
        count = left < 2 * step ? left : step; /* none of too few columns */
        float *there = to + (long)column * taps;
        if (pool)
            pool_row_backward(g, places, line, pool, row, half, pairs);
        else
            masked(g, y, line, (row * s->columns + column) * c, (long)count * c, half, pairs);
        if (pairs)
            send_pairs(line, weights, there, count, c, taps);
        else
            send(line, weights, there, count, c, taps);
    }
}

/* Add up what was sent to one row of the picture, as many pixels at once as one step of a window
 * passes. `sent` is what the rows of the gradient sent that reach it, by those taps that do; each
 * row has columns of zeros before and behind. `to` has room for the padding, and for a vector. */
ALWAYS void gather(const float *const *sent, int count, float *to, int groups, int taps,
                   const int stride, const int size)
{
    const int last = (size - 1) / stride, rest = (size - last * stride) * COLOURS;
    eight_bits inside;
    for (int k = 0; k < 8; k++)
        inside[k] = -(k < rest); /* behind a window's last tap are those of its next row */
    for (int m = 0; m < groups; m++) {
        eight sum = {0};
        for (int i = 0; i < count; i++) {
            const float *from = sent[i] + (long)m * taps;
            for (int d = 0; d < last; d++, from += stride * COLOURS - taps)
                sum += *(const eight *)from;
            sum += (eight)((eight_bits)*(const eight *)from & inside);
        }
        *(eight *)(to + m * stride * COLOURS) = sum;
    }
}

/* `weights` are [channel, taps], or [channel / 2, taps, 2] of bfloat16 if `pairs`; taps are [down,
 * along, colour] and as many more, of zeros, as stem_width() asks for. `g` and `y` are the gradient
 * at, and the result of, the ReLU or the pooling behind it. Returns whether memory ran out. */
int stem_backward(const void *g, const void *y, const uint8_t *places, const void *weights,
                  float *to, const struct stem *s, const struct pooling *pool, int taps, int half,
                  int pairs)
{
    const long line = (long)s->columns * s->channels;
    const int slots = (s->size[0] + s->stride[0] - 1) / s->stride[0];
    const int margin = (s->size[1] + s->stride[1] - 1) / s->stride[1];
    const int groups = (s->width - 1 + s->padding[1]) / s->stride[1] + 1;
    const long sent_line = (long)(s->columns + 2 * margin) * taps;
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        void *gradient = malloc(bytes(line, pairs));
        float *sent = calloc((size_t)sent_line * slots + 8, sizeof *sent);
        float *gathered = malloc(bytes((long)groups * s->stride[1] * COLOURS + 8, 0));
        long done = 0;
        failed = !gradient || !sent || !gathered;
#pragma omp for schedule(static)
        for (long row = 0; row < (long)s->n * s->height; row++) {
            if (!gradient || !sent || !gathered)
                continue;
            const float *from[MOST_ROWS];
            int count = 0;
            const int y_padded = row % s->height + s->padding[0];
            const int first = larger(y_padded - s->size[0] + s->stride[0], 0) / s->stride[0];
            const int last = smaller(y_padded / s->stride[0], s->rows - 1);
            for (int r = first; r <= last; r++) {
                const long here = row / s->height * s->rows + r;
                float *there = sent + here % slots * sent_line + (long)margin * taps;
                from[count++] = there + (y_padded - r * s->stride[0]) * s->size[1] * COLOURS;
                if (here < done)
                    continue;
                done = here + 1;
                if (half && pairs)
                    send_row(g, y, places, weights, gradient, there, s, pool, taps, here, 1, 1);
                else if (half)
                    send_row(g, y, places, weights, gradient, there, s, pool, taps, here, 1, 0);
                else
                    send_row(g, y, places, weights, gradient, there, s, pool, taps, here, 0, 0);
            }
            if (s->stride[1] == 1 && s->size[1] == 3)
                gather(from, count, gathered, groups, taps, 1, 3);
            else if (s->stride[1] == 2 && s->size[1] == 7)
                gather(from, count, gathered, groups, taps, 2, 7);
            else
                gather(from, count, gathered, groups, taps, s->stride[1], s->size[1]);
            memcpy(to + row * s->width * COLOURS, gathered + s->padding[1] * COLOURS,
                   bytes((long)s->width * COLOURS, 0));
        }
        free(gradient);
        free(sent);
        free(gathered);
    }
    return failed;
}
