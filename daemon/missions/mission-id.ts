import type { MissionId } from '../contracts/ids.ts'
import type { Chance } from '../kit/chance.ts'
import type { Clock } from '../kit/clock.ts'

/**
 * Names missions: `m-`, 10 characters of time, 16 of chance (Crockford base32, lower case).
 *
 * Each name is greater than the one before, also when the clock goes back: then it counts up from the last.
 */
export class MissionIds {
  readonly #clock: Clock
  readonly #chance: Chance
  #last: MissionId = ''
  #time = { ms: -1, text: '' }

  constructor(clock: Clock, chance: Chance) {
    this.#clock = clock
    this.#chance = chance
  }

  /** A name that exists already: later ones are greater. */
  seen(id: MissionId): void {
    if (id > this.#last) this.#last = id
  }

  next(): MissionId {
    const timeMs = Math.max(0, Math.floor(this.#clock.now()))
    // Under load many share a millisecond.
    if (timeMs !== this.#time.ms) this.#time = { ms: timeMs, text: encodeTime(timeMs) }
    let fresh = `m-${this.#time.text}`
    for (const byte of this.#chance.bytes(CHANCE_LENGTH)) fresh += ALPHABET.charAt(byte % 32)
    this.#last = fresh > this.#last ? fresh : successor(this.#last)
    return this.#last
  }
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const TIME_LENGTH = 10
const CHANCE_LENGTH = 16

function encodeTime(timeMs: number): string {
  let rest = timeMs
  let text = ''
  for (let place = 0; place < TIME_LENGTH; place += 1) {
    text = ALPHABET.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  return text
}

function successor(id: MissionId): MissionId {
  let end = id.length
  while (end > 0 && id.charAt(end - 1) === 'z') end -= 1
  const digit = ALPHABET.indexOf(id.charAt(end - 1))
  return id.slice(0, end - 1) + ALPHABET.charAt(digit + 1) + '0'.repeat(id.length - end)
}
