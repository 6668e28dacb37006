// Find the images whose embeddings have the smallest angles to that of an image.

/**
 * Return a function from an embedding, a Float32Array of `size` values, and a count to the most
 * similar images, best first: [{at, similarity}], with the cosine of the angle.
 *
 * `vectors` is an Int8Array with the vectors of all images, as page_images.py writes them.
 */
export function searcher(vectors, size) {
  const vector = (at) => vectors.subarray(at * size, (at + 1) * size);
  const lengths = Float64Array.from(
    { length: vectors.length / size }, (_, at) => Math.hypot(...vector(at)),
  );
  return (embedding, count) => {
    const own = Math.hypot(...embedding);
    const found = Array.from(lengths, (length, at) => {
      const product = vector(at).reduce((sum, value, each) => sum + value * embedding[each], 0);
      return { at, similarity: product / (length * own || 1) };
    });
    return found.sort((a, b) => b.similarity - a.similarity).slice(0, count);
  };
}
