import { median } from './numbers.ts'

/** Whether a figure that is looked at once a minute has moved up for good; its logarithms are what is kept. */
export interface Shift {
  /** The last minutes that were as usual. */
  readonly usual: readonly number[]
  /** The moving average; null until enough is known of what is usual. */
  readonly average: number | null
  /** How many minutes in a row the average has been above the limit. */
  readonly run: number
  /** How far above the centre it is, in standard deviations of the average. */
  readonly score: number
  /** The centre and the limit, as figures. */
  readonly centre: number
  readonly limit: number
}

export const UNKNOWN_SHIFT: Shift = { usual: [], average: null, run: 0, score: 0, centre: 0, limit: 0 }

/**
 * One minute of an EWMA chart on log values (λ = 0.2, limits ± 2.86 standard deviations of the average).
 *
 * Centre and deviation are the median and the MAD of the last hour of usual minutes. A minute above the limit does not
 * become usual, so that a slow rise cannot hide itself; one below it does, since less is no omen.
 */
export function stepShift(shift: Shift, figure: number): Shift {
  const value = Math.log(Math.max(FIGURE_MIN, figure))
  if (shift.usual.length < USUAL_MIN) return { ...UNKNOWN_SHIFT, usual: [...shift.usual, value] }
  const centre = median(shift.usual)
  const spread = MAD_TO_SIGMA * median(shift.usual.map((each) => Math.abs(each - centre)))
  const deviation = Math.max(SIGMA_MIN, spread) * Math.sqrt(LAMBDA / (2 - LAMBDA))
  const average = LAMBDA * value + (1 - LAMBDA) * (shift.average ?? centre)
  // The average stays up for a while after a peak is over: a minute that is as usual itself ends the run.
  const isAbove = Math.min(average, value) - centre > LIMIT * deviation
  return {
    usual: isAbove ? shift.usual : [...shift.usual.slice(1 - USUAL_MAX), value],
    average,
    run: isAbove ? shift.run + 1 : 0,
    score: (average - centre) / deviation,
    centre: Math.exp(centre),
    limit: Math.exp(centre + LIMIT * deviation),
  }
}

/** After a silence nothing is in a row any more. */
export function afterSilence(shift: Shift): Shift {
  return { ...UNKNOWN_SHIFT, usual: shift.usual }
}

const LAMBDA = 0.2
/** A chart with this λ and limit gives a false point in about 370 minutes. */
const LIMIT = 2.86
/** Makes the MAD of normal values their standard deviation. */
const MAD_TO_SIGMA = 1.4826
/** A figure as steady as a clock would make an omen of nothing: with this floor, less than two fifths more is none. */
const SIGMA_MIN = 0.35
/** A median and a MAD of fewer are guesses. */
const USUAL_MIN = 20
const USUAL_MAX = 60
/** Logarithms of nothing are endless; below one millisecond, or byte, nobody feels a difference. */
const FIGURE_MIN = 1
