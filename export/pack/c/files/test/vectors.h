/* Images, and the logits that the model in C gave for them when the pack was made. */
#ifndef HEMLINE_VECTORS_H
#define HEMLINE_VECTORS_H

#include "classifier.h"

#define VECTORS @COUNT@

extern const uint8_t vector_pixels[VECTORS][HEMLINE_PIXELS];
extern const int8_t vector_logits[VECTORS][HEMLINE_CLASSES];

#endif
