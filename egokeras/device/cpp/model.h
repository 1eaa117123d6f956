// An artifact's TFLite files through TFLite's C API: what a program of your own needs of this folder.

#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensorflow/lite/c/c_api_experimental.h"

using Json = nlohmann::ordered_json;
using Path = std::filesystem::path;
using Tensors = std::map<std::string, std::vector<char>>;  // by name, as they lie in memory

inline void require(bool fine, const std::string& sentence) {
  if (!fine) throw std::runtime_error(sentence);
}

// The TFLite files of an artifact in the order in which they run: each takes inputs, or what those before it gave.
class Model {
 public:
  Model(const Path& folder, const Json& parts, int threads) {
    for (const Json& described : parts) {
      const std::string file = (folder / described.at("file").get<std::string>()).string(), signature = described.at("signature");
      Part& part = parts_.emplace_back();
      part.model.reset(TfLiteModelCreateFromFile(file.c_str()));
      require(part.model != nullptr, file + " cannot be loaded; copy it again.");
      std::unique_ptr<TfLiteInterpreterOptions, Free<TfLiteInterpreterOptionsDelete>> options(TfLiteInterpreterOptionsCreate());
      TfLiteInterpreterOptionsSetNumThreads(options.get(), threads);
      part.interpreter.reset(TfLiteInterpreterCreate(part.model.get(), options.get()));
      require(part.interpreter != nullptr, file + " needs operations that this TFLite lacks; use a newer one.");
      part.runner.reset(TfLiteInterpreterGetSignatureRunner(part.interpreter.get(), signature.c_str()));
      require(part.runner != nullptr, file + " has no signature " + signature + "; export it again.");
      require(TfLiteSignatureRunnerAllocateTensors(part.runner.get()) == kTfLiteOk, file + " cannot be prepared; export it again.");
    }
  }

  // Takes uint8 pixels (1, frames, height, width, channels) by name; gives logits, float32, by name, and what parts pass on.
  Tensors run(const Tensors& inputs) {
    Tensors made;
    for (Part& part : parts_) {
      TfLiteSignatureRunner* runner = part.runner.get();
      for (size_t at = 0; at < TfLiteSignatureRunnerGetInputCount(runner); ++at) {
        const char* name = TfLiteSignatureRunnerGetInputName(runner, at);
        const auto& data = inputs.count(name) ? inputs.at(name) : made.at(name);
        TfLiteTensor* tensor = TfLiteSignatureRunnerGetInputTensor(runner, name);
        require(TfLiteTensorCopyFromBuffer(tensor, data.data(), data.size()) == kTfLiteOk,
                std::string(name) + " has another size than the file takes; export it again.");
      }
      require(TfLiteSignatureRunnerInvoke(runner) == kTfLiteOk, "TFLite cannot run the file; export it again.");
      for (size_t at = 0; at < TfLiteSignatureRunnerGetOutputCount(runner); ++at) {
        const char* name = TfLiteSignatureRunnerGetOutputName(runner, at);
        const TfLiteTensor* tensor = TfLiteSignatureRunnerGetOutputTensor(runner, name);
        const char* data = static_cast<const char*>(TfLiteTensorData(tensor));
        made[name].assign(data, data + TfLiteTensorByteSize(tensor));
      }
    }
    return made;
  }

 private:
  template <auto release>
  struct Free {
    template <class T>
    void operator()(T* held) const { release(held); }
  };
  struct Part {  // released from the last to the first
    std::unique_ptr<TfLiteModel, Free<TfLiteModelDelete>> model;
    std::unique_ptr<TfLiteInterpreter, Free<TfLiteInterpreterDelete>> interpreter;
    std::unique_ptr<TfLiteSignatureRunner, Free<TfLiteSignatureRunnerDelete>> runner;
  };
  std::vector<Part> parts_;
};
