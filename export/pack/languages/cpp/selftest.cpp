// Compare each step with vectors.json, with -DRUN_MODEL the model too; exit code 1 when one differs.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>

#include "model.hpp"
#ifdef RUN_MODEL
#include "classifier.hpp"
#endif

// What follows each `key` in the text, to the end of its line.
static std::vector<std::string> all(const std::string& text, const std::string& key) {
  std::vector<std::string> found;
  for (auto at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
    at += key.size();
    found.push_back(text.substr(at, text.find_first_of("]\n", at) - at));
  }
  return found;
}

template <typename T>
static std::vector<T> numbers(std::string line) {
  std::replace(line.begin(), line.end(), ',', ' ');
  std::istringstream stream(line);
  std::vector<double> read{std::istream_iterator<double>(stream), {}};
  return {read.begin(), read.end()};
}

static double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (std::size_t at = 0; at < a.size(); ++at) {
    most = std::max(most, std::abs(static_cast<double>(@REAL@(a[at])) - @REAL@(b[at])));
  }
  return most;
}

int main() {
  std::ifstream file("vectors.json");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto pixels = all(text, "\"pixels\": ["), tensors = all(text, "\"tensor\": ["),
             outputs = all(text, "\"output\": ["), logits = all(text, "\"logits\": ["),
             indices = all(text, "\"index\": "), scores = all(text, "\"score\": "),
             unknown = all(text, "\"is_unknown\": "), decided = all(text, "\"decided\": ");
  const std::size_t count = pixels.size();
  if (count == 0) std::printf("vectors.json is missing here, or damaged\n");
  std::size_t encoded = 0, decoded = 0;
  [[maybe_unused]] std::size_t classified = 0, certain = 0;
  [[maybe_unused]] double furthest = 0, further_score = 0;
  for (std::size_t at = 0; at < count; ++at) {
    const auto image = numbers<std::uint8_t>(pixels[at]);
    encoded += model::encode(image) == numbers<model::Input>(tensors[at]);
    const auto expected = numbers<float>(logits[at]);
    const auto is_right = [&](const model::Prediction& found) {
      const bool is_unknown = unknown[at].find("true") == 0;
      return found.index == std::stoul(indices[at]) && found.is_unknown == is_unknown;
    };
    const auto found = model::decode(numbers<model::Output>(outputs[at]));
    decoded += is_right(found) && largest_difference(found.logits, expected) < 1e-5 &&
               std::abs(found.score - std::stod(scores[at])) < 1e-5;
#ifdef RUN_MODEL
    static Classifier classifier("@ARTIFACT@");
    const auto whole = classifier.classify(image);
    furthest = std::max(furthest, largest_difference(whole.logits, expected));
    further_score = std::max(further_score, std::abs(whole.score - std::stod(scores[at])));
    const bool is_decided = decided[at].find("true") == 0;
    certain += is_decided;
    classified += is_decided && is_right(whole);
#endif
  }
  std::printf("tensors: %zu of %zu equal\nlabels of given outputs: %zu of %zu equal\n", encoded,
              count, decoded, count);
  bool passed = count > 0 && encoded == count && decoded == count;
#ifdef RUN_MODEL
  std::printf("labels of the model: %zu of %zu decided equal, %zu too near to tell\n", classified,
              certain, count - certain);
  std::printf("scores within %.3g (tolerance %.3g), @OUTPUT_GIVES@ within %.3g (tolerance %.3g)\n",
              further_score, @SCORE_TOLERANCE@, furthest, @TOLERANCE@);
  passed = passed && certain > 0 && classified == certain && furthest <= @TOLERANCE@ &&
           further_score <= @SCORE_TOLERANCE@;
#else
  std::printf("the model was not run\n");
#endif
  std::printf(passed ? "passed\n" : "FAILED\n");
  return passed ? 0 : 1;
}
