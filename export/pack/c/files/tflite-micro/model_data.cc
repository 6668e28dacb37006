#include "model_data.h"

alignas(16) extern const unsigned char hemline_model[kModelBytes] = {@DATA@};
