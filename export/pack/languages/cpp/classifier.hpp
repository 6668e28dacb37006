// Classify images with @ARTIFACT@ in ONNX Runtime, through its C++ interface.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <array>
#include <filesystem>

#include "model.hpp"

class Classifier {
 public:
  explicit Classifier(const std::filesystem::path& artifact)
      : session_(environment_, artifact.c_str(), Ort::SessionOptions{}),
        input_(session_.GetInputNameAllocated(0, allocator_)),
        output_(session_.GetOutputNameAllocated(@OUTPUT_POSITION@, allocator_)) {}

  // Pixels are 0 to 255, height x width x channels, row by row.
  model::Prediction classify(const std::vector<std::uint8_t>& pixels) {
    auto tensor = model::encode(pixels);
    const std::array<std::int64_t, 4> shape = {1, model::height, model::width, model::channels};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto input = Ort::Value::CreateTensor<model::Input>(memory, tensor.data(), tensor.size(),
                                                              shape.data(), shape.size());
    const char *names[] = {input_.get()}, *wanted[] = {output_.get()};
    const auto results = session_.Run(Ort::RunOptions{}, names, &input, 1, wanted, 1);
    const auto* output = results[0].GetTensorData<model::Output>();
    return model::decode({output, output + model::labels.size()});
  }

 private:
  Ort::Env environment_;
  Ort::Session session_;
  Ort::AllocatorWithDefaultOptions allocator_;
  Ort::AllocatedStringPtr input_, output_;
};
