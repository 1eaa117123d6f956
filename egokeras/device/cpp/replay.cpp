// Does an artifact answer here, in C++, as it did where it was exported? What `python -m egokeras.device.selftest` asks.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "model.h"

constexpr double kExact = 1e-4;  // of float32, relative to the largest logit (at least 1)
constexpr double kSteps = 16;    // of anything smaller, in quantization steps of its logits
constexpr int kRuns = 20;        // that are timed

// Pair after pair of what lies one after another in the files of each name.
std::vector<Tensors> stored(const Path& folder, const Json& files_by_name, size_t count) {
  std::vector<Tensors> pairs(count);
  for (const auto& [name, files] : files_by_name.items()) {
    std::vector<char> all;
    for (const std::string file : files) {
      std::ifstream stream(folder / file, std::ios::binary);
      require(stream.good(), (folder / file).string() + " is missing; copy the whole folder again.");
      all.insert(all.end(), std::istreambuf_iterator<char>(stream), {});
    }
    require(all.size() % count == 0, folder.string() + ": its pairs of " + name + " are not whole; copy the whole folder again.");
    const size_t size = all.size() / count;
    for (size_t at = 0; at < count; ++at) pairs[at][name].assign(all.begin() + at * size, all.begin() + (at + 1) * size);
  }
  return pairs;
}

std::vector<float> numbers(const std::vector<char>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g", value);
  return text;
}

double median_milliseconds(Model& model, const std::vector<Tensors>& inputs) {
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    model.run(inputs[run % inputs.size()]);
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  return (times[(kRuns - 1) / 2] + times[kRuns / 2]) / 2;
}

bool replay(const Path& folder, int threads) {
  const std::string here = folder.string();
  std::ifstream stream(folder / "artifact.json");
  require(stream.good(), here + " has no artifact.json; give the folder that `egokeras export` wrote.");
  const Json manifest = Json::parse(stream), &parts = manifest.at("parts");
  require(parts.is_array() && !parts.empty(), here + ": parts names no files, which no artifact can have; export it again.");
  require(manifest.value("kind", "clip") == "clip" && !manifest.contains("exits"),
          here + " does not take a clip at once; replay it with python -m egokeras.device.selftest.");
  for (const Json& part : parts)
    require(Path(part.at("file").get<std::string>()).extension() == ".tflite", here + " has no TFLite files; give an export that has.");
  Model model(folder, parts, threads);
  if (!manifest.contains("pairs")) {
    std::cout << here << ": its files load, and it holds no pairs to answer.\n";
    return true;
  }
  const Json& pairs = manifest.at("pairs");
  const size_t count = pairs.at("count");
  require(count > 0, here + ": pairs.count is 0, which no artifact can have; export it again.");
  const auto inputs = stored(folder, pairs.at("inputs"), count), outputs = stored(folder, pairs.at("outputs"), count);
  std::vector<Tensors> answers;
  for (const Tensors& clip : inputs) answers.push_back(model.run(clip));

  const bool exact = manifest.at("quantization") == "float32";
  std::vector<bool> other(count);  // pairs with another class than theirs
  double worst = -1;
  std::string apart;
  for (const auto& [name, step] : pairs.at("steps").items()) {
    double scale = 1, largest = 0;
    std::vector<double> behind(count);  // the answered class, in the stored logits
    for (size_t at = 0; at < count; ++at) {
      const auto expected = numbers(outputs[at].at(name)), found = numbers(answers[at].at(name));
      require(found.size() == expected.size() && !found.empty(), here + ": its pairs of " + name + " have another size; export it again.");
      for (size_t i = 0; i < found.size(); ++i) {
        const double difference = std::abs(double(found[i]) - expected[i]);
        largest = std::isnan(difference) ? INFINITY : std::max(largest, difference);
        scale = std::max(scale, std::abs(double(expected[i])));
      }
      const auto best = std::max_element(found.begin(), found.end()) - found.begin();
      behind[at] = *std::max_element(expected.begin(), expected.end()) - expected[best];
    }
    const double tolerance = exact ? kExact * scale : std::max(kExact * scale, kSteps * step.get<double>());
    for (size_t at = 0; at < count; ++at) other[at] = other[at] || behind[at] > tolerance;
    if (largest / tolerance <= worst) continue;
    worst = largest / tolerance;
    apart = "logits of " + name + " differ by up to " +
            (exact ? rounded(largest) + " (limit 0.0001 of the largest)" : rounded(worst * kSteps) + " quantization steps (limit 16)");
  }
  const auto changed = std::count(other.begin(), other.end(), true);
  std::cout << here << ": TFLite " << TfLiteVersion() << " answers ";
  if (!(worst <= 1) || changed) {
    std::cout << "otherwise than where it was exported: " << apart << ", " << changed << " of " << count
              << " pairs have another top-1; do not use it with this runtime, or export it again.\n";
    return false;
  }
  std::cout << "its " << count << " stored pairs as where it was exported, " << apart << ".\n"
            << rounded(median_milliseconds(model, inputs)) << " ms a clip, median of " << kRuns << " on " << threads << " thread(s).\n";
  return true;
}

int main(int count, char** arguments) {
  const int threads = count == 3 ? std::atoi(arguments[2]) : 1;
  if (count < 2 || count > 3 || threads < 1) {
    std::cerr << "usage: replay ARTIFACT [THREADS]\n";
    return 2;
  }
  try {
    return replay(arguments[1], threads) ? 0 : 1;
  } catch (const std::runtime_error& error) {
    std::cout << error.what() << "\n";
  } catch (const std::exception& error) {  // of the JSON library, or a name that is nowhere
    std::cout << arguments[1] << " is not what egokeras wrote (" << error.what() << "); copy it again, or export it again.\n";
  }
  return 1;
}
