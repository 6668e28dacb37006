package hemline

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.exp
import kotlin.math.ln

/** What the model predicts for one image; the label is "unknown" where [isUnknown]. */
class Prediction(
    val label: String,
    val isUnknown: Boolean,
    val index: Int,
    val score: Double,
    val logits: FloatArray
)

/** How the model stores a value of its input and of its output. */
internal fun ByteBuffer.putInput(value: Double) { @INPUT_PUT@ }
internal fun ByteBuffer.putOutput(value: Double) { @OUTPUT_PUT@ }
internal fun ByteBuffer.nextOutput() = @OUTPUT_GET@

/** Converts pixels to the tensor of @ARTIFACT@, and its output to a label, as Hemline does. */
object Model {
    const val HEIGHT = @INPUT_HEIGHT@
    const val WIDTH = @INPUT_WIDTH@
    const val CHANNELS = @INPUT_CHANNELS@
    const val OUTPUT_BYTES = @OUTPUT_SIZE@ * @OUTPUT_BYTES@
    val LABELS = listOf(@LABELS@)
    private val MEAN = doubleArrayOf(@MEANS@)
    private val STD = doubleArrayOf(@STDS@)

    /** Pixels are 0 to 255, row by row, of colour images red before green before blue. */
    fun encode(pixels: ByteArray): ByteBuffer {
        val tensor = ByteBuffer.allocateDirect(pixels.size * @INPUT_BYTES@).order(ByteOrder.nativeOrder())
        for (at in pixels.indices) {
            val channel = at % CHANNELS
            val from = if (@INPUT_BGR@) at - channel + CHANNELS - 1 - channel else at
            val real = ((pixels[from].toInt() and 255) - MEAN[channel]) / STD[channel]
            tensor.putInput(@STORED@)
        }
        tensor.rewind()
        return tensor
    }

    /** The output is one value for each class, as the model stores it. */
    fun decode(output: ByteBuffer): Prediction {
        val logits = FloatArray(LABELS.size) {
            val real = (output.nextOutput() - @OUTPUT_ZERO_POINT@) * @OUTPUT_SCALE@f
            if (@PROBABILITIES@) ln(maxOf(real, 1e-9f)) else real
        }
        var index = 0
        for (at in logits.indices) if (logits[at] > logits[index]) index = at
        val score = 1 / logits.fold(0.0) { sum, each -> sum + exp((each - logits[index]) / @TEMPERATURE@) }
        val isUnknown = score <= @UNKNOWN_THRESHOLD@
        return Prediction(if (isUnknown) "unknown" else LABELS[index], isUnknown, index, score, logits)
    }
}
