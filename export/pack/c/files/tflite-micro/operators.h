// The operators of @ARTIFACT@, and no other.
#ifndef HEMLINE_OPERATORS_H_
#define HEMLINE_OPERATORS_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

using ModelOpResolver = tflite::MicroMutableOpResolver<@COUNT@>;

inline TfLiteStatus RegisterOps(ModelOpResolver& resolver) {
@CALLS@
    return kTfLiteOk;
}

#endif  // HEMLINE_OPERATORS_H_
