import { NexusError } from '../contracts/failure.ts'
import { CATEGORIES, type Category } from '../contracts/ids.ts'
import { AXES, type Axis, WEIGHTS, type Weights } from './axes.ts'

/** What work costs and how much of it there is, in whatever unit `expected_value` is given. */
export interface Prices {
  /** One second of one place in a lane. */
  readonly slotSecond: number
  readonly operatorMinute: number
  readonly operatorMinutesADay: number
  /** Minutes an operator needs for one mission, until some are recorded. */
  readonly handleMinutes: number
  /** Seconds a category may use in a day; no limit where absent. */
  readonly budgets: Readonly<Partial<Record<Category, number>>>
}

const PRICES: Prices = {
  slotSecond: 0.01,
  operatorMinute: 1,
  operatorMinutesADay: 60,
  handleMinutes: 2,
  budgets: {},
}

/** Return by cost that a category is declared to have until value or cost is known. */
export const DECLARED_WORTH: Readonly<Record<Category, number>> = {
  coin: 4,
  forge: 2.33,
  library: 1.5,
  sanctuary: 1,
}

/** Weights from the setting `missions.weights`, made to add up to 1. */
export function weightsFrom(setting: Readonly<Record<string, number>>): Weights {
  refuse('missions.weights', setting, AXES)
  const wanted = { ...WEIGHTS, ...setting }
  const sum = AXES.reduce((total, axis) => total + wanted[axis], 0)
  // Every axis enters the score; one that weighs nothing could never be the counterfactual either.
  const lacking = AXES.find((axis) => !(wanted[axis] > 0))
  if (lacking !== undefined) throw invalid('missions.weights', `${lacking} must be above 0`)
  return Object.fromEntries(AXES.map((axis) => [axis, wanted[axis] / sum])) as Record<Axis, number>
}

/** Prices from the setting `missions.prices`. */
export function pricesFrom(setting: Readonly<Record<string, number>>): Prices {
  const budgetNames = CATEGORIES.map((category) => `${category}_seconds_a_day`)
  refuse('missions.prices', setting, [...Object.values(PRICE_NAMES), ...budgetNames])
  const price = (name: keyof typeof PRICE_NAMES): number => setting[PRICE_NAMES[name]] ?? PRICES[name]
  const budgets = CATEGORIES.flatMap((category) => {
    const seconds = setting[`${category}_seconds_a_day`]
    return seconds === undefined ? [] : [[category, seconds] as const]
  })
  return {
    slotSecond: price('slotSecond'),
    operatorMinute: price('operatorMinute'),
    operatorMinutesADay: price('operatorMinutesADay'),
    handleMinutes: price('handleMinutes'),
    budgets: Object.fromEntries(budgets),
  }
}

const PRICE_NAMES = {
  slotSecond: 'slot_second',
  operatorMinute: 'operator_minute',
  operatorMinutesADay: 'operator_minutes_a_day',
  handleMinutes: 'handle_minutes',
} as const

function refuse(name: string, setting: Readonly<Record<string, number>>, known: readonly string[]): void {
  for (const [key, value] of Object.entries(setting)) {
    if (!known.includes(key)) throw invalid(name, `${key} is not one of ${known.join(', ')}`)
    if (!(Number.isFinite(value) && value >= 0)) throw invalid(name, `${key} must be a number of 0 or more`)
  }
}

function invalid(name: string, detail: string): NexusError {
  return new NexusError('CONFIG_INVALID', { file: name, detail })
}
