package hemline

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.exp
import kotlin.system.exitProcess

private class Golden(val pixels: ByteArray, val tensor: ByteBuffer, val output: ByteBuffer, val logits: FloatArray,
                     val index: Int, val score: Double, val isUnknown: Boolean, val isDecided: Boolean) {
    /** The largest difference of a logit, or of the probabilities of a model that returns these. */
    fun difference(found: Prediction) = logits.indices.fold(0f) { most, at ->
        maxOf(most, abs(comparable(logits[at]) - comparable(found.logits[at])))
    }

    fun hasLabelOf(found: Prediction) = found.index == index && found.isUnknown == isUnknown

    private fun comparable(logit: Float) = if (@PROBABILITIES@) exp(logit) else logit
}

private fun buffer(values: List<Double>, bytes: Int, put: ByteBuffer.(Double) -> Unit): ByteBuffer {
    val buffer = ByteBuffer.allocate(values.size * bytes).order(ByteOrder.nativeOrder())
    for (value in values) buffer.put(value)
    buffer.rewind()
    return buffer
}

/** Reads the text of vectors.json, in which a list of numbers takes one line. */
private fun read(text: String): List<Golden> {
    fun all(name: String) = Regex("\"$name\": \\[?([^\\]{\n]+)").findAll(text).map { it.groupValues[1].trim(',', ' ') }
        .toList()
    fun lists(name: String) = all(name).map { line -> line.split(",").map { it.trim().toDouble() } }
    val (indices, scores, unknown, decided) = listOf("index", "score", "is_unknown", "decided").map(::all)
    val (pixels, tensors, outputs, logits) = listOf("pixels", "tensor", "output", "logits").map(::lists)
    return pixels.indices.map {
        Golden(
            ByteArray(pixels[it].size) { at -> pixels[it][at].toInt().toByte() },
            buffer(tensors[it], @INPUT_BYTES@, ByteBuffer::putInput),
            buffer(outputs[it], @OUTPUT_BYTES@, ByteBuffer::putOutput),
            FloatArray(logits[it].size) { at -> logits[it][at].toFloat() },
            indices[it].toInt(), scores[it].toDouble(), unknown[it].toBoolean(), decided[it].toBoolean()
        )
    }
}

/**
 * Compares each step with the text of vectors.json and reports what it found. Without [classify], which runs the
 * model, all but the model is checked. On a device: selfTest(text, Classifier(file)::classify).
 */
fun selfTest(vectors: String, report: (String) -> Unit, classify: ((ByteArray) -> Prediction)? = null): Boolean {
    val golden = read(vectors)
    val encoded = golden.count { Model.encode(it.pixels) == it.tensor }
    val decoded = golden.count {
        val found = Model.decode(it.output)
        it.hasLabelOf(found) && it.difference(found) < 1e-5 && abs(found.score - it.score) < 1e-5
    }
    report("tensors: $encoded of ${golden.size} equal")
    report("labels of given outputs: $decoded of ${golden.size} equal")
    if (classify == null) {
        report("the model was not run")
        return golden.isNotEmpty() && encoded == golden.size && decoded == golden.size
    }
    val found = golden.map { classify(it.pixels) }
    val decided = golden.indices.filter { golden[it].isDecided }
    val classified = decided.count { golden[it].hasLabelOf(found[it]) }
    val furthest = golden.indices.fold(0f) { most, at -> maxOf(most, golden[at].difference(found[at])) }
    val scores = golden.indices.fold(0.0) { most, at -> maxOf(most, abs(golden[at].score - found[at].score)) }
    report("labels of the model: $classified of ${decided.size} decided equal, ${golden.size - decided.size} too near to tell")
    report("scores within $scores (tolerance @SCORE_TOLERANCE@), @OUTPUT_GIVES@ within $furthest (tolerance @TOLERANCE@)")
    return encoded == golden.size && decoded == golden.size && decided.isNotEmpty() && classified == decided.size &&
        furthest <= @TOLERANCE@ && scores <= @SCORE_TOLERANCE@
}

fun main() {
    val passed = runCatching { selfTest(File("vectors.json").readText(), ::println) }.getOrElse {
        println("vectors.json is missing here, or damaged (${it.message})")
        false
    }
    println(if (passed) "passed" else "FAILED")
    exitProcess(if (passed) 0 else 1)
}
