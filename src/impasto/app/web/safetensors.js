/** The tensors of a .safetensors file (float32 and float16) by name, as Float32Array. */
export function readSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__, ...entries } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  return new Map(Object.entries(entries).map(([name, { dtype, data_offsets: [begin, end] }]) => {
    const bytes = buffer.slice(8 + length + begin, 8 + length + end);
    return [name, dtype === "F16" ? Float32Array.from(new Uint16Array(bytes), fromHalf) : new Float32Array(bytes)];
  }));
}

/** IEEE 754 half precision: 1 sign, 5 exponent and 10 fraction bits. */
function fromHalf(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
  return bits >> 15 ? -size : size;
}
