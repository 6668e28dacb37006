#include "classifier.h"

#include "bknn_model.h"

#define TABLES @TABLES@
#define REVERSED @REVERSED@ /* whether the model has blue first */

/* What each pixel value becomes in the input tensor; a table for each channel where they differ. */
static const int8_t stored[TABLES][256] = {@STORED@};

/* e^(-difference x scale / temperature) of two logits. */
static const float powers[256] = {@POWERS@};

const char *const hemline_labels[HEMLINE_CLASSES] = {@LABELS@};

void hemline_infer(const uint8_t pixels[HEMLINE_PIXELS], int8_t logits[HEMLINE_CLASSES]) {
    static int8_t input[HEMLINE_PIXELS];
    _Alignas(BKNN_MODEL_ARENA_ALIGNMENT) static uint8_t arena[BKNN_MODEL_ARENA_SIZE + 1];
    for (int at = 0; at < HEMLINE_PIXELS; at += HEMLINE_CHANNELS) {
        for (int channel = 0; channel < HEMLINE_CHANNELS; ++channel) {
            const int source = REVERSED ? HEMLINE_CHANNELS - 1 - channel : channel;
            input[at + channel] = stored[TABLES == 1 ? 0 : channel][pixels[at + source]];
        }
    }
    bknn_model_infer(BKNN_MODEL_ARENA_SIZE > 0 ? arena : 0, input, logits);
}

struct hemline_result hemline_decode(const int8_t logits[HEMLINE_CLASSES]) {
    int best = 0;
    for (int at = 1; at < HEMLINE_CLASSES; ++at) {
        best = logits[at] > logits[best] ? at : best;
    }
    float sum = 0;
    for (int at = 0; at < HEMLINE_CLASSES; ++at) {
        sum += powers[logits[best] - logits[at]];
    }
    const float score = 1 / sum;
    return (struct hemline_result){best, score, score <= @THRESHOLD@};
}

struct hemline_result hemline_classify(const uint8_t pixels[HEMLINE_PIXELS]) {
    int8_t logits[HEMLINE_CLASSES];
    hemline_infer(pixels, logits);
    return hemline_decode(logits);
}
