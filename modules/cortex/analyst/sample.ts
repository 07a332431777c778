/** Enough for quantiles that are exact up to this many rows and within about half a percent of rank beyond. */
const SAMPLE_MAX = 20_000

/**
 * An even sample of a stream of numbers (Vitter's algorithm R). Its chance has a fixed seed, so that the same file
 * gives the same answer.
 */
export class Sample {
  #values = new Float64Array(64)
  #seen = 0
  #state = 0x9e3779b9

  add(value: number): void {
    this.#seen += 1
    if (this.#seen <= SAMPLE_MAX) {
      if (this.#seen > this.#values.length) this.#grow()
      this.#values[this.#seen - 1] = value
      return
    }
    const place = Math.floor(this.#chance() * this.#seen)
    if (place < SAMPLE_MAX) this.#values[place] = value
  }

  sorted(): Float64Array {
    return this.#values.slice(0, Math.min(this.#seen, SAMPLE_MAX)).sort()
  }

  #grow(): void {
    const larger = new Float64Array(Math.min(SAMPLE_MAX, this.#values.length * 2))
    larger.set(this.#values)
    this.#values = larger
  }

  /** Mulberry32. */
  #chance(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
