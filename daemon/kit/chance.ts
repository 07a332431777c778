import { randomBytes } from 'node:crypto'

/** Chance as a port: a seed replays a whole run. */
export interface Chance {
  /** Uniform in [0, 1). */
  next(): number
  /** For names that nobody may guess or meet twice. */
  bytes(count: number): Uint8Array
}

export const systemChance: Chance = {
  next: () => Math.random(),
  bytes: takeBytes,
}

/** Asking the system for a few bytes costs as much as asking for a page of them. */
const POOL_BYTES = 4_096
let pool = Buffer.alloc(0)

function takeBytes(count: number): Uint8Array {
  if (count > POOL_BYTES) return randomBytes(count)
  if (pool.length < count) pool = randomBytes(POOL_BYTES)
  const taken = Uint8Array.from(pool.subarray(0, count))
  // What was given out is not kept: some of it becomes keys.
  pool.fill(0, 0, count)
  pool = pool.subarray(count)
  return taken
}

/** Mulberry32 (Tommy Ettinger): small, even, and the same on every machine for the same seed. */
export function seededChance(seed: number): Chance {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
  return { next, bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(next() * 256)) }
}
