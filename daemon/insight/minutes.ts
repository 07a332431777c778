import { median, rounded } from './numbers.ts'
import { afterSilence, type Shift, stepShift, UNKNOWN_SHIFT } from './shift.ts'

/** A minute that has been looked at. */
export interface Minute {
  /** How many in a row were above the limit, this one included; 0 when it was not. */
  readonly run: number
  readonly score: number
  /** The figures, for the record. */
  readonly evidence: string
}

/** Figures that come at any rate, looked at by the median of each minute, each under its own name; bounded. */
export class Minutes {
  readonly #tracks = new Map<string, Track>()
  readonly #unit: string
  readonly #divisor: number

  /** @param unit - Of the figures in evidence, which are divided by `divisor` for it. */
  constructor(unit: string, divisor = 1) {
    this.#unit = unit
    this.#divisor = divisor
  }

  /** Takes a figure. @returns The minute before, when this one is the first of another. */
  sample(name: string, figure: number, atMs: number): Minute | undefined {
    const minute = Math.floor(atMs / MINUTE_MS)
    const track = this.#tracks.get(name) ?? { minute, values: [], shift: UNKNOWN_SHIFT }
    // A wall clock that was set back: what belongs to a minute gone by counts for the present one.
    const over = minute > track.minute ? this.#close(track, minute) : undefined
    if (track.values.length < FIGURES_MAX) track.values.push(figure)
    this.#tracks.delete(name)
    this.#tracks.set(name, track)
    const oldest = this.#tracks.keys().next().value
    if (this.#tracks.size > NAMES_MAX && oldest !== undefined) this.#tracks.delete(oldest)
    return over
  }

  /** Forgets what was usual: it is other code, or was allowed to be as it is. */
  forget(isMeant: (name: string) => boolean): void {
    for (const name of [...this.#tracks.keys()]) if (isMeant(name)) this.#tracks.delete(name)
  }

  save(): SavedMinutes {
    return [...this.#tracks].map(([name, { minute, values, shift }]) => {
      const usual = shift.usual.map((value) => rounded(value, 4))
      return [name, { minute, values: [...values], shift: { ...shift, usual } }]
    })
  }

  load(saved: SavedMinutes): void {
    for (const [name, track] of saved) this.#tracks.set(name, { ...track, values: [...track.values] })
  }

  #close(track: Track, next: number): Minute {
    const figure = median(track.values)
    track.shift = stepShift(track.shift, figure)
    const { run, score, centre, limit } = track.shift
    const at = new Date(track.minute * MINUTE_MS).toISOString().slice(0, 16)
    const show = (value: number): string => `${rounded(value / this.#divisor, 1)} ${this.#unit}`
    const evidence = `${at}Z: ${show(figure)}; usual ${show(centre)}, limit ${show(limit)}`
    if (next - track.minute > SILENCE_MINUTES) track.shift = afterSilence(track.shift)
    track.minute = next
    track.values = []
    return { run, score, evidence }
  }
}

interface Track {
  minute: number
  values: number[]
  shift: Shift
}

export type SavedMinutes = readonly (readonly [string, Readonly<Track>])[]

const MINUTE_MS = 60_000
/** Minutes this far apart are not in a row. */
const SILENCE_MINUTES = 10
/** The first so many of a minute tell its median well enough. */
const FIGURES_MAX = 200
/** Actions of modules that are in use; what has not been seen for longest is forgotten. */
const NAMES_MAX = 500
