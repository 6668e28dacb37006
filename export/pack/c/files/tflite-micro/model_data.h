// @ARTIFACT@ for TensorFlow Lite Micro: tflite::GetModel(hemline_model)
#ifndef HEMLINE_MODEL_DATA_H_
#define HEMLINE_MODEL_DATA_H_

constexpr unsigned int kModelBytes = @BYTES@;
// Tensor arena as tflite-micro took it on a 64-bit computer; on 32 bits it is smaller.
@ARENA@

alignas(16) extern const unsigned char hemline_model[kModelBytes];

#endif  // HEMLINE_MODEL_DATA_H_
