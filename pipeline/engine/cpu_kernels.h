/* What the kernels share: numbers in two precisions, and a row of a pooling.
 *
 * Pictures lie as [N, H, W, C], of float or, if `half`, of bfloat16; whatever is added up is added
 * up in float. Innermost loops run over channels and are plain enough for compilers to vectorise;
 * the `half` that they ask for is a constant wherever they are inlined.
 */
#ifndef CPU_KERNELS_H
#define CPU_KERNELS_H

#include <stdint.h>
#include <string.h>

enum { MOST_CHANNELS = 2048, MOST_ROWS = 255 };
enum { NOWHERE = 255 }; /* the place in a pooling window to which no gradient goes */

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

static inline size_t bytes(long count, int half)
{
    return count * (half ? sizeof(bfloat16) : sizeof(float));
}

/* The window of row `row` of the result: rows first to end - 1 of it are in the picture, and row 0
 * is the picture's row `top`. */
struct reach {
    int top, first, end;
};

static inline struct reach reach_of(const struct pooling *p, long row)
{
    const int top = row % p->rows * p->stride[0] - p->padding[0];
    return (struct reach){top, larger(-top, 0), smaller(p->height - top, p->size[0])};
}

/* Make row `row` of the result of `x`, the window's rows, of which those in the picture are read.
 * If they are a ReLU's result (`rectified`), zeros are of no place. */
static inline void pool_row(const void *const *x, void *y, uint8_t *places, const struct pooling *p,
                            long row, int rectified, int half_x, int half_y)
{
    int32_t best[MOST_CHANNELS], place[MOST_CHANNELS];
    const int c = p->channels;
    const struct reach reach = reach_of(p, row);

    for (int column = 0; column < p->columns; column++) {
        const int left = column * p->stride[1] - p->padding[1];
        const int begin = larger(-left, 0), stop = smaller(p->width - left, p->size[1]);
        for (int k = 0; k < c; k++)
            best[k] = INT32_MIN, place[k] = 0;
        for (int i = reach.first; i < reach.end; i++)
            for (int j = begin; j < stop; j++) {
                const long at = (long)(left + j) * c;
                const int here = i * p->size[1] + j;
#pragma omp simd
                for (int k = 0; k < c; k++) {
                    const int32_t seen = ordered(get_bits(x[i], at + k, half_x)), old = best[k];
                    place[k] = seen > old ? here : place[k];
                    best[k] = seen > old ? seen : old;
                }
            }
        const long at = (row * p->columns + column) * c;
#pragma omp simd
        for (int k = 0; k < c; k++) {
            put(y, at + k, float_of(ordered(best[k])), half_y);
            places[at + k] = rectified && best[k] <= 0 ? NOWHERE : place[k];
        }
    }
}

/* Make row `row` of the gradient at the input, and leave it at `to`. */
static inline void pool_row_backward(const void *g, const uint8_t *places, void *to,
                                     const struct pooling *p, long row, int half, int half_to)
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
        if (first == last && begin == stop) { /* windows side by side: there is one */
            const long at = ((above + first) * p->columns + begin) * c;
            const int here = (y - first * p->stride[0]) * p->size[1] + x - begin * p->stride[1];
#pragma omp simd
            for (int k = 0; k < c; k++) {
                const float sent = get(g, at + k, half);
                put(to, (long)column * c + k, places[at + k] == here ? sent : 0, half_to);
            }
            continue;
        }
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
#pragma omp simd
        for (int k = 0; k < c; k++)
            put(to, (long)column * c + k, sum[k], half_to);
    }
}

#endif
