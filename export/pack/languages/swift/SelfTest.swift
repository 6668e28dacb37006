import Foundation

private struct Golden: Decodable {
    let pixels: [UInt8]
    let tensor: [Model.Input]
    let output: [Model.Output]
    let logits: [Float]
    let index: Int
    let score: Double
    let isUnknown: Bool
    let decided: Bool

    /// The largest difference of a logit, or of the probabilities of a model that returns these.
    func difference(_ found: Prediction) -> Float {
        zip(logits, found.logits).map { @REAL@($0) - @REAL@($1) }.map(abs).max() ?? .infinity
    }

    func hasLabel(of found: Prediction) -> Bool { found.index == index && found.isUnknown == isUnknown }
}

private struct GoldenVectors: Decodable {
    let vectors: [Golden]
}

/// Compares each step with the content of vectors.json and prints what it found. Without `classify`, which runs the
/// model, all but the model is checked. On a device: `selfTest(data, classify: classifier.classify)`.
func selfTest(_ data: Data, classify: (([UInt8]) throws -> Prediction)? = nil) throws -> Bool {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let golden = try decoder.decode(GoldenVectors.self, from: data).vectors
    let encoded = golden.filter { Model.encode($0.pixels) == $0.tensor }.count
    let decoded = golden.filter {
        let found = Model.decode($0.output)
        return $0.hasLabel(of: found) && $0.difference(found) < 1e-5 && abs(found.score - $0.score) < 1e-5
    }.count
    print("tensors: \(encoded) of \(golden.count) equal")
    print("labels of given outputs: \(decoded) of \(golden.count) equal")
    guard let classify = classify else {
        print("the model was not run")
        return !golden.isEmpty && encoded == golden.count && decoded == golden.count
    }
    let pairs = try golden.map { ($0, try classify($0.pixels)) }
    let decided = pairs.filter { $0.0.decided }
    let classified = decided.filter { $0.hasLabel(of: $1) }.count
    let furthest = pairs.map { $0.difference($1) }.max() ?? .infinity
    let scores = pairs.map { abs($0.score - $1.score) }.max() ?? .infinity
    print("labels of the model: \(classified) of \(decided.count) decided equal, \(golden.count - decided.count) too near to tell")
    print("scores within \(scores) (tolerance @SCORE_TOLERANCE@), @OUTPUT_GIVES@ within \(furthest) (tolerance @TOLERANCE@)")
    return encoded == golden.count && decoded == golden.count && decided.count > 0 && classified == decided.count
        && furthest <= @TOLERANCE@ && scores <= @SCORE_TOLERANCE@
}
