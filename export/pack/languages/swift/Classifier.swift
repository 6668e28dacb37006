import Foundation
import TensorFlowLiteC  // comes with TensorFlowLiteSwift, whose own interface refuses int8 tensors

enum ClassifierError: Error {
    case cannotOpen(String), cannotRun
}

/// Runs @ARTIFACT@ in TensorFlow Lite; one thread at a time may use it.
final class Classifier {
    private let model: OpaquePointer
    private let interpreter: OpaquePointer

    init(path: String) throws {
        guard let model = TfLiteModelCreateFromFile(path) else { throw ClassifierError.cannotOpen(path) }
        guard let interpreter = TfLiteInterpreterCreate(model, nil) else {
            TfLiteModelDelete(model)
            throw ClassifierError.cannotOpen(path)
        }
        (self.model, self.interpreter) = (model, interpreter)
        guard TfLiteInterpreterAllocateTensors(interpreter) == kTfLiteOk else { throw ClassifierError.cannotOpen(path) }
    }

    deinit {
        TfLiteInterpreterDelete(interpreter)
        TfLiteModelDelete(model)
    }

    /// Pixels are 0 to 255, height × width × channels, row by row.
    func classify(_ pixels: [UInt8]) throws -> Prediction {
        let tensor = Model.encode(pixels)
        var output = [Model.Output](repeating: 0, count: Model.labels.count)
        let given = TfLiteInterpreterGetInputTensor(interpreter, 0)
        let copied = tensor.withUnsafeBytes { TfLiteTensorCopyFromBuffer(given, $0.baseAddress, $0.count) }
        guard copied == kTfLiteOk, TfLiteInterpreterInvoke(interpreter) == kTfLiteOk else {
            throw ClassifierError.cannotRun
        }
        let result = TfLiteInterpreterGetOutputTensor(interpreter, @OUTPUT_POSITION@)
        let read = output.withUnsafeMutableBytes { TfLiteTensorCopyToBuffer(result, $0.baseAddress, $0.count) }
        guard read == kTfLiteOk else { throw ClassifierError.cannotRun }
        return Model.decode(output)
    }
}
