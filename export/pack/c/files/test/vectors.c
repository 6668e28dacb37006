#include "vectors.h"

const uint8_t vector_pixels[VECTORS][HEMLINE_PIXELS] = {@PIXELS@};

const int8_t vector_logits[VECTORS][HEMLINE_CLASSES] = {@LOGITS@};
