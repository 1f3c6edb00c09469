/* What a step does besides convolving, on a CPU: each in one pass over memory, on all cores.
 *
 * cpu_kernels.py calls these functions, and torch_kernels.py says what they compute. Pictures lie as
 * [N, H, W, C], of float or, if `half`, of bfloat16; whatever is added up is added up in float.
 * Threads take rows of the result, so no two write to one place and sums have a fixed order. The
 * innermost loops run over channels and are plain enough for compilers to vectorise; the `half` that
 * they ask for is a constant wherever they are inlined.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { MOST_CHANNELS = 2048, REACH = 2 };

typedef uint16_t bfloat16;

struct pooling {
    int n, height, width, channels; /* of the input */
    int rows, columns;              /* of the result */
    int size[2], stride[2], padding[2];
};

static inline int larger(int a, int b) { return a > b ? a : b; }
static inline int smaller(int a, int b) { return a < b ? a : b; }

static inline int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int32_t get_bits(const void *from, long at, int half)
{
    return half ? (int32_t)((uint32_t)((const bfloat16 *)from)[at] << 16)
                : ((const int32_t *)from)[at];
}

static inline float get(const void *from, long at, int half)
{
    return float_of(get_bits(from, at, half));
}

static inline void put(void *to, long at, float x, int half)
{
    const uint32_t bits = bits_of(x);
    if (half) /* to the nearest, ties to even */
        ((bfloat16 *)to)[at] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    else
        ((float *)to)[at] = x;
}

/* A float's bits as an integer of the same order, and back: integers are compared faster. */
static inline int32_t ordered(int32_t bits) { return bits ^ (bits >> 31 & INT32_MAX); }

static inline void pool_row(const void *x, void *y, uint8_t *places, const struct pooling *p,
                            long row, int half_x, int half_y)
{
    int32_t best[MOST_CHANNELS], place[MOST_CHANNELS];
    const int c = p->channels;
    const int top = row % p->rows * p->stride[0] - p->padding[0];
    const int first = larger(-top, 0), end = smaller(p->height - top, p->size[0]);
    const long above = row / p->rows * p->height + top;

    for (int column = 0; column < p->columns; column++) {
        const int left = column * p->stride[1] - p->padding[1];
        const int begin = larger(-left, 0), stop = smaller(p->width - left, p->size[1]);
        for (int k = 0; k < c; k++)
            best[k] = INT32_MIN, place[k] = 0;
        for (int i = first; i < end; i++)
            for (int j = begin; j < stop; j++) {
                const long at = ((above + i) * p->width + left + j) * c;
                const int here = i * p->size[1] + j;
#pragma omp simd
                for (int k = 0; k < c; k++) {
                    const int32_t seen = ordered(get_bits(x, at + k, half_x)), old = best[k];
                    place[k] = seen > old ? here : place[k];
                    best[k] = seen > old ? seen : old;
                }
            }
        const long at = (row * p->columns + column) * c;
#pragma omp simd
        for (int k = 0; k < c; k++) {
            put(y, at + k, float_of(ordered(best[k])), half_y);
            places[at + k] = place[k];
        }
    }
}

void max_pool(const void *x, void *y, uint8_t *places, const struct pooling *p, int half_x,
              int half_y)
{
#pragma omp parallel for
    for (long row = 0; row < (long)p->n * p->rows; row++)
        if (half_x)
            pool_row(x, y, places, p, row, 1, 1);
        else if (half_y)
            pool_row(x, y, places, p, row, 0, 1);
        else
            pool_row(x, y, places, p, row, 0, 0);
}

static inline void pool_row_backward(const void *g, const uint8_t *places, void *to,
                                     const struct pooling *p, long row, int half)
{
    float sum[MOST_CHANNELS];
    const int c = p->channels;
    const int y = row % p->height + p->padding[0];
    const int first = larger(y - p->size[0] + p->stride[0], 0) / p->stride[0];
    const int last = smaller(y / p->stride[0], p->rows - 1);
    const long above = row / p->height * p->rows;

    for (int column = 0; column < p->width; column++) {
        const int x = column + p->padding[1];
        const int begin = larger(x - p->size[1] + p->stride[1], 0) / p->stride[1];
        const int stop = smaller(x / p->stride[1], p->columns - 1);
        memset(sum, 0, c * sizeof *sum);
        for (int i = first; i <= last; i++)
            for (int j = begin; j <= stop; j++) {
                const long at = ((above + i) * p->columns + j) * c;
                const int here = (y - i * p->stride[0]) * p->size[1] + x - j * p->stride[1];
#pragma omp simd
                for (int k = 0; k < c; k++) {
                    const int32_t mine = ((places[at + k] ^ here) - 1) >> 31; /* all ones or zero */
                    sum[k] += float_of(get_bits(g, at + k, half) & mine);
                }
            }
        const long at = (row * p->width + column) * c;
#pragma omp simd
        for (int k = 0; k < c; k++)
            put(to, at + k, sum[k], half);
    }
}

void max_pool_backward(const void *g, const uint8_t *places, void *to, const struct pooling *p,
                       int half)
{
#pragma omp parallel for
    for (long row = 0; row < (long)p->n * p->height; row++)
        if (half)
            pool_row_backward(g, places, to, p, row, 1);
        else
            pool_row_backward(g, places, to, p, row, 0);
}

/* Sum over REACH neighbours to each side. */
static inline float around(const float *x, int k)
{
    return x[k - 2] + x[k - 1] + x[k] + x[k + 1] + x[k + 2];
}

/* `squares` and `shared` are lines of channels with REACH zeros before and behind. */
static inline void norm(const void *x, void *y, long at, int c, float scale, float bias,
                        float *restrict squares, int half)
{
#pragma omp simd
    for (int k = 0; k < c; k++) {
        const float seen = get(x, at + k, half);
        squares[k] = seen * seen;
    }
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
#pragma omp simd
    for (int k = 0; k < c; k++) {
        const float seen = get(x, at + k, half);
        squares[k] = seen * seen;
    }
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
