import type { Outcome } from './column.ts'

/** Which column tells whether a row converted, and how its cells are read. */
export interface Target {
  readonly column: string
  /** The value that counts as converted, when the request named one. */
  readonly value?: string
  /** True when nobody named it and its name suggested it. */
  readonly guessed: boolean
}

export interface TargetRequest {
  readonly target?: string
  readonly target_value?: string | number | boolean
}

/** More unreadable targets than this share are no slips of the pen: the column is no yes-or-no. */
export const UNREADABLE_SHARE_MAX = 0.05

const LIKELY =
  /^(is_?)?(converted|conversion|revenue|purchased?|sold|sale|won|subscribed|success|churned?|target|outcome|label)$/i

const YES = new Set(['true', 'yes', 'y', 't', '1', '1.0', 'converted', 'won', 'sold', 'success'])
const NO = new Set(['false', 'no', 'n', 'f', '0', '0.0', 'not converted', 'lost', 'unsold', 'failure'])

/**
 * The target among the columns, or undefined when none is named and none looks like one.
 *
 * @throws Error when a named one is not there; it names those that are.
 */
export function chooseTarget(request: TargetRequest, columns: readonly string[]): Target | undefined {
  const value = request.target_value === undefined ? {} : { value: String(request.target_value) }
  if (request.target === undefined) {
    const likely = columns.filter((name) => LIKELY.test(name))
    return likely.length === 1 && likely[0] !== undefined
      ? { column: likely[0], ...value, guessed: true }
      : undefined
  }
  const wanted = request.target
  const column = columns.find((name) => name === wanted) ?? alike(wanted, columns)
  if (column === undefined) {
    const shown = columns.slice(0, 40).join(', ')
    throw new Error(
      `there is no column ${wanted}; the columns are ${shown}${columns.length > 40 ? ', …' : ''}`,
    )
  }
  return { column, ...value, guessed: false }
}

/** Reads one cell of the target. */
export function judge(cell: string, target: Target): Outcome {
  if (target.value !== undefined) return cell === target.value ? 'hit' : 'miss'
  const word = cell.trim().toLowerCase()
  if (YES.has(word)) return 'hit'
  return NO.has(word) ? 'miss' : 'unknown'
}

/** What to tell a person whose target is no yes-or-no. */
export function unreadable(target: Target, values: readonly string[]): string {
  return (
    `the target ${target.column} is not yes or no (it holds ${values.slice(0, 5).join(', ')}, …): ` +
    'say with target_value which value counts as converted, or name another target'
  )
}

/** The same name in another case, if only one column has it. */
function alike(wanted: string, columns: readonly string[]): string | undefined {
  const same = columns.filter((name) => name.toLowerCase() === wanted.toLowerCase())
  return same.length === 1 ? same[0] : undefined
}
