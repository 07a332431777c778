import { NexusError } from '../contracts/failure.ts'
import type { Principal } from '../contracts/roles.ts'
import type { Clock } from '../kit/clock.ts'

export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/**
 * How much each principal may change: a bucket that fills steadily and holds a burst. Callers without credentials share
 * one.
 */
export class RateLimit {
  readonly #rate: Rate
  readonly #clock: Clock
  readonly #buckets = new Map<string, Bucket>()

  constructor(rate: Rate, clock: Clock) {
    this.#rate = rate
    this.#clock = clock
  }

  /**
   * Takes what a request costs. More than a burst is lent to a full bucket, and keeps its owner waiting afterwards.
   *
   * @throws NexusError `RATE_LIMITED`; nothing is taken then.
   */
  take({ kind, name }: Principal, cost: number): void {
    const { perSecond, burst } = this.#rate
    const bucket = this.#bucketOf(`${kind}:${name}`)
    this.#fill(bucket)
    const needed = Math.min(cost, burst)
    if (bucket.tokens < needed) {
      const seconds = Math.ceil((needed - bucket.tokens) / perSecond)
      const retryAfterSeconds = Math.min(RETRY_SECONDS_MAX, Math.max(1, seconds))
      throw new NexusError('RATE_LIMITED', { principal: name, rate: perSecond }, { retryAfterSeconds })
    }
    bucket.tokens -= cost
  }

  #bucketOf(key: string): Bucket {
    const known = this.#buckets.get(key)
    if (known !== undefined) return known
    if (this.#buckets.size >= PRINCIPALS_MAX) this.#forget()
    const bucket = { tokens: this.#rate.burst, atMs: this.#clock.elapsed() }
    this.#buckets.set(key, bucket)
    return bucket
  }

  #fill(bucket: Bucket): void {
    const { perSecond, burst } = this.#rate
    const nowMs = this.#clock.elapsed()
    bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1_000)
    bucket.atMs = nowMs
  }

  /** A full bucket is worth no memory; where all are in use, the oldest goes, and begins anew. */
  #forget(): void {
    for (const [key, bucket] of this.#buckets) {
      this.#fill(bucket)
      if (bucket.tokens === this.#rate.burst) this.#buckets.delete(key)
    }
    const [oldest] = this.#buckets.keys()
    if (oldest !== undefined && this.#buckets.size >= PRINCIPALS_MAX) this.#buckets.delete(oldest)
  }
}

interface Bucket {
  tokens: number
  atMs: number
}

/** More principals than any configuration names. */
const PRINCIPALS_MAX = 1_000
/** Who comes back after a minute learns soon enough that it is still too early. */
const RETRY_SECONDS_MAX = 60
