/** What a repeated pattern asks for, from the mildest to the hardest. */
const OMEN_LEVELS = ['ignore', 'warn', 'intervene', 'lock'] as const
export type OmenLevel = (typeof OMEN_LEVELS)[number]

/** How many failing missions, and how high the sum, a level takes. */
export const OMEN_THRESHOLDS = [
  { level: 'lock', count: 13, score: 5 },
  { level: 'intervene', count: 7, score: 4 },
  { level: 'warn', count: 3, score: 3 },
] as const satisfies readonly { level: OmenLevel; count: number; score: number }[]

/** By what trust in a module is multiplied while an omen stands over it. */
export const OMEN_FACTOR = {
  ignore: 1,
  warn: 0.85,
  intervene: 0.5,
  lock: 0,
} as const satisfies Record<OmenLevel, number>

/** The harder of two levels. */
export function harder(one: OmenLevel, other: OmenLevel): OmenLevel {
  return OMEN_LEVELS.indexOf(one) >= OMEN_LEVELS.indexOf(other) ? one : other
}
