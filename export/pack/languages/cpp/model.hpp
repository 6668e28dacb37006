// Converts pixels to the tensor of @ARTIFACT@, and its output to a label, as Hemline does. C++17.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace model {

constexpr int height = @INPUT_HEIGHT@, width = @INPUT_WIDTH@, channels = @INPUT_CHANNELS@;
using Input = @INPUT_TYPE@;
using Output = @OUTPUT_TYPE@;
inline const std::vector<std::string> labels = {@LABELS@};

struct Prediction {
  std::string label;  // of the best class, or "unknown"
  bool is_unknown;    // whether the score does not exceed the model's threshold
  std::size_t index;  // of the best class
  double score;  // probability of the best class, 0 to 1
  std::vector<float> logits;
};

// Pixels are 0 to 255, row by row, of colour images red before green before blue; README.md says how to prepare them.
inline std::vector<Input> encode(const std::vector<std::uint8_t>& pixels) {
  const double mean[] = {@MEANS@}, std[] = {@STDS@};
  std::vector<Input> tensor(pixels.size());
  for (std::size_t at = 0; at < pixels.size(); ++at) {
    const std::size_t channel = at % channels;
    const std::size_t from = @INPUT_BGR@ ? at - channel + channels - 1 - channel : at;
    const double real = (pixels[from] - mean[channel]) / std[channel];
    tensor[at] = static_cast<Input>(@STORED@);
  }
  return tensor;
}

// The output is one value for each class, as the model stores it.
inline Prediction decode(const std::vector<Output>& output) {
  std::vector<float> logits(output.size());
  std::transform(output.begin(), output.end(), logits.begin(), [](Output stored) {
    const float real = (static_cast<float>(stored) - @OUTPUT_ZERO_POINT@) * @OUTPUT_SCALE@f;
    return @PROBABILITIES@ ? std::log(std::max(real, 1e-9f)) : real;
  });
  const auto best = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float each : logits) sum += std::exp((each - *best) / @TEMPERATURE@);
  const auto index = static_cast<std::size_t>(best - logits.begin());
  const bool is_unknown = 1 / sum <= @UNKNOWN_THRESHOLD@;
  return {is_unknown ? "unknown" : labels[index], is_unknown, index, 1 / sum, logits};
}

}  // namespace model
