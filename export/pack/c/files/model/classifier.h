/* Classify images: @PACK@. C11, without heap; not for two threads at once. */
#ifndef HEMLINE_CLASSIFIER_H
#define HEMLINE_CLASSIFIER_H

#include <stdbool.h>
#include <stdint.h>

#define HEMLINE_HEIGHT @HEIGHT@
#define HEMLINE_WIDTH @WIDTH@
#define HEMLINE_CHANNELS @CHANNELS@
#define HEMLINE_PIXELS (HEMLINE_HEIGHT * HEMLINE_WIDTH * HEMLINE_CHANNELS)
#define HEMLINE_CLASSES @CLASSES@

struct hemline_result {
    int index;    /* of the best class */
    float score;  /* its probability, 0 to 1 */
    bool unknown; /* whether the score does not exceed the threshold of the model */
};

#ifdef __cplusplus
extern "C" {
#endif

extern const char *const hemline_labels[HEMLINE_CLASSES];

/* pixels: 8 bits each, row by row@ORDER@; README.md says how to prepare them. */
struct hemline_result hemline_classify(const uint8_t pixels[HEMLINE_PIXELS]);

/* The two halves of it: pixels to 8-bit logits, and these to a result. */
void hemline_infer(const uint8_t pixels[HEMLINE_PIXELS], int8_t logits[HEMLINE_CLASSES]);
struct hemline_result hemline_decode(const int8_t logits[HEMLINE_CLASSES]);

#ifdef __cplusplus
}
#endif

#endif
