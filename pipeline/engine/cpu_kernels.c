/* What a step does besides convolving, on a CPU: each in one pass over memory, on all cores.
 *
 * cpu_kernels.py calls these functions, and torch_kernels.py says what they compute. Threads take
 * rows of the result, so no two write to one place and sums have a fixed order.
 */
#include "cpu_kernels.h"

#include <math.h>
#include <stdlib.h>

/* To be raised, here and in cpu_kernels.py, with any change of what any function is given. */
int version(void) { return 3; }

/* Whether rows are shared out among threads; built without OpenMP, one thread takes them all. */
int openmp(void)
{
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

enum { REACH = 2, GAUSSIANS = 3, MOST_RADIUS = 4 };

void max_pool(const void *x, void *y, uint8_t *places, const struct pooling *p, int rectified,
              int half_x, int half_y)
{
#pragma omp parallel for
    for (long row = 0; row < (long)p->n * p->rows; row++) {
        const struct reach reach = reach_of(p, row);
        const long above = row / p->rows * p->height + reach.top;
        const void *window[MOST_ROWS];
        for (int i = reach.first; i < reach.end; i++)
            window[i] = (const char *)x + bytes((above + i) * p->width * p->channels, half_x);
        if (half_x)
            pool_row(window, y, places, p, row, rectified, 1, 1);
        else if (half_y)
            pool_row(window, y, places, p, row, rectified, 0, 1);
        else
            pool_row(window, y, places, p, row, rectified, 0, 0);
    }
}

void max_pool_backward(const void *g, const uint8_t *places, void *to, const struct pooling *p,
                       int half)
{
#pragma omp parallel for
    for (long row = 0; row < (long)p->n * p->height; row++) {
        void *there = (char *)to + bytes(row * p->width * p->channels, half);
        if (half)
            pool_row_backward(g, places, there, p, row, 1, 1);
        else
            pool_row_backward(g, places, there, p, row, 0, 0);
    }
}

/* Sum over REACH neighbours to each side. */
static inline float around(const float *x, int k)
{
    return x[k - 2] + x[k - 1] + x[k] + x[k + 1] + x[k + 2];
}

static inline void square(const void *x, long at, int c, float *restrict squares, int half)
{
#pragma omp simd
    for (int k = 0; k < c; k++) {
        const float seen = get(x, at + k, half);
        squares[k] = seen * seen;
    }
}

/* `squares` and `shared` are lines of channels with REACH zeros before and behind. */
static inline void norm(const void *x, void *y, long at, int c, float scale, float bias,
                        float *restrict squares, int half)
{
    square(x, at, c, squares, half);
#pragma omp simd
    for (int k = 0; k < c; k++) {
        const float root = sqrtf(1 / (bias + scale * around(squares, k)));
        put(y, at + k, get(x, at + k, half) * root * sqrtf(root), half);
    }
}

static inline void norm_backward(const void *g, const void *x, void *to, long at, int c,
                                 float scale, float bias, float *restrict squares,
                                 float *restrict shared, int half)
{
    float direct[MOST_CHANNELS];
    square(x, at, c, squares, half);
#pragma omp simd
    for (int k = 0; k < c; k++) {
        const float inverse = 1 / (bias + scale * around(squares, k)), root = sqrtf(inverse);
        direct[k] = get(g, at + k, half) * root * sqrtf(root);
        shared[k] = direct[k] * get(x, at + k, half) * inverse;
    }
#pragma omp simd
    for (int k = 0; k < c; k++)
        put(to, at + k,
            direct[k] - 1.5f * scale * get(x, at + k, half) * around(shared, k), half);
}

/* With an exponent of 3/4. */
void response_norm(const void *x, void *y, long pixels, int c, float scale, float bias, int half)
{
#pragma omp parallel
    {
        float squares[MOST_CHANNELS + 2 * REACH] = {0};
#pragma omp for
        for (long pixel = 0; pixel < pixels; pixel++)
            if (half)
                norm(x, y, pixel * c, c, scale, bias, squares + REACH, 1);
            else
                norm(x, y, pixel * c, c, scale, bias, squares + REACH, 0);
    }
}

void response_norm_backward(const void *g, const void *x, void *to, long pixels, int c,
                            float scale, float bias, int half)
{
#pragma omp parallel
    {
        float squares[MOST_CHANNELS + 2 * REACH] = {0}, shared[MOST_CHANNELS + 2 * REACH] = {0};
#pragma omp for
        for (long pixel = 0; pixel < pixels; pixel++)
            if (half)
                norm_backward(g, x, to, pixel * c, c, scale, bias, squares + REACH,
                              shared + REACH, 1);
            else
                norm_backward(g, x, to, pixel * c, c, scale, bias, squares + REACH,
                              shared + REACH, 0);
    }
}

static inline int reflected(int at, int count)
{
    return at < 0 ? -at : at < count ? at : 2 * count - 2 - at;
}

/* Add a share of one row of one Gaussian: down the picture into `line`, whose border is reflected
 * (the outermost pixel itself once), and then along it. */
static inline void gaussian_row(const float *g, float *restrict sum, float *restrict line, int row,
                                int h, int w, int c, const float *taps, int radius, float share)
{
    const int count = w * c;
    const float *rows[2 * MOST_RADIUS + 1];
    float *inner = line + radius * c;
    for (int i = -radius; i <= radius; i++)
        rows[radius + i] = g + (long)reflected(row + i, h) * count;
#pragma omp simd
    for (int k = 0; k < count; k++) {
        float seen = taps[0] * rows[radius][k];
        for (int i = 1; i <= radius; i++)
            seen += taps[i] * (rows[radius - i][k] + rows[radius + i][k]);
        inner[k] = seen;
    }
    for (int i = 1; i <= radius; i++)
        for (int k = 0; k < c; k++) {
            inner[k - i * c] = inner[k + i * c];
            inner[count + k + (i - 1) * c] = inner[count + k - (i + 1) * c];
        }
#pragma omp simd
    for (int k = 0; k < count; k++) {
        float seen = taps[0] * inner[k];
        for (int i = 1; i <= radius; i++)
            seen += taps[i] * (inner[k - i * c] + inner[k + i * c]);
        sum[k] += share * seen;
    }
}

/* The mean of three Gaussians, and the sum of what it makes of each row, without signs. `taps` are
 * the middle and one side of each Gaussian, by picture. Returns whether memory ran out. */
int cascade(const float *g, float *to, float *sums, int n, int h, int w, int c, const float *taps,
            int radius)
{
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    {
        float *line = malloc(((size_t)w + 2 * radius) * c * sizeof *line);
        failed = !line;
#pragma omp for
        for (long row = 0; row < (long)n * h; row++) {
            if (!line)
                continue;
            const long picture = row / h;
            float *sum = to + row * w * c;
            memset(sum, 0, (size_t)w * c * sizeof *sum);
            for (int i = 0; i < GAUSSIANS; i++) {
                const float *from = g + picture * h * w * c;
                const float share = 1.0f / GAUSSIANS;
                const float *these = taps + (picture * GAUSSIANS + i) * (radius + 1);
                if (radius == MOST_RADIUS && c == 3)
                    gaussian_row(from, sum, line, row % h, h, w, 3, these, MOST_RADIUS, share);
                else
                    gaussian_row(from, sum, line, row % h, h, w, c, these, radius, share);
            }
            float total = 0;
#pragma omp simd reduction(+ : total)
            for (int k = 0; k < w * c; k++)
                total += fabsf(sum[k]);
            sums[row] = total;
        }
        free(line);
    }
    return failed;
}

static inline int wrapped(int at, int count) { return (at % count + count) % count; }

/* `offsets` are (down, right) by picture. */
void shift(const float *x, float *to, int n, int h, int w, int c, const int64_t *offsets)
{
#pragma omp parallel for
    for (long row = 0; row < (long)n * h; row++) {
        const long picture = row / h;
        const int y = wrapped(row % h - offsets[2 * picture], h);
        const int first = wrapped(offsets[2 * picture + 1], w); /* where the row begins */
        const float *from = x + (picture * h + y) * w * c;
        memcpy(to + (row * w + first) * c, from, (size_t)(w - first) * c * sizeof *to);
        memcpy(to + row * w * c, from + (long)(w - first) * c, (size_t)first * c * sizeof *to);
    }
}

static inline void climb_row(const float *x, const float *direction, float *restrict to,
                             float length, long count)
{
#pragma omp simd
    for (long k = 0; k < count; k++) {
        const float there = x[k] + length * direction[k], above = there > 0 ? there : 0;
        to[k] = above < 1 ? above : 1;
    }
}

/* Go by `lengths` along a direction, stay within [0, 1] and shift back. */
void climb(const float *x, const float *direction, float *to, int n, int h, int w, int c,
           const float *lengths, const int64_t *offsets)
{
#pragma omp parallel for
    for (long row = 0; row < (long)n * h; row++) {
        const long picture = row / h;
        const int y = wrapped(row % h + offsets[2 * picture], h);
        const int first = wrapped(-offsets[2 * picture + 1], w);
        const long from = (picture * h + y) * w * c, rest = (long)(w - first) * c;
        const float length = lengths[picture];
        climb_row(x + from, direction + from, to + (row * w + first) * c, length, rest);
        climb_row(x + from + rest, direction + from + rest, to + row * w * c, length, first * c);
    }
}
