import Foundation

/// What the model predicts for one image; the label is "unknown" where `isUnknown`.
struct Prediction {
    let label: String
    let isUnknown: Bool
    let index: Int
    let score: Double
    let logits: [Float]
}

/// Converts pixels to the tensor of @ARTIFACT@, and its output to a label, as Hemline does.
enum Model {
    typealias Input = @INPUT_TYPE@
    typealias Output = @OUTPUT_TYPE@
    static let height = @INPUT_HEIGHT@, width = @INPUT_WIDTH@, channels = @INPUT_CHANNELS@
    static let labels = [@LABELS@]
    private static let mean: [Double] = [@MEANS@], std: [Double] = [@STDS@]
    private static let bgr = @INPUT_BGR@, probabilities = @PROBABILITIES@

    /// Pixels are 0 to 255, row by row, of colour images red before green before blue.
    static func encode(_ pixels: [UInt8]) -> [Input] {
        pixels.indices.map { at in
            let channel = at % channels
            let from = bgr ? at - channel + channels - 1 - channel : at
            let real = (Double(pixels[from]) - mean[channel]) / std[channel]
            return Input(@STORED@)
        }
    }

    /// The output is one value for each class, as the model stores it.
    static func decode(_ output: [Output]) -> Prediction {
        let logits = output.map { stored -> Float in
            let real = (Float(stored) - @OUTPUT_ZERO_POINT@) * @OUTPUT_SCALE@
            return probabilities ? log(max(real, 1e-9)) : real
        }
        let best = logits.max()!
        let index = logits.firstIndex(of: best)!
        let score = 1 / logits.reduce(0.0) { $0 + exp(Double($1 - best) / @TEMPERATURE@) }
        let isUnknown = score <= @UNKNOWN_THRESHOLD@
        return Prediction(
            label: isUnknown ? "unknown" : labels[index], isUnknown: isUnknown, index: index, score: score,
            logits: logits)
    }
}
