import type { Category, GenerationId, ModuleId } from '../contracts/ids.ts'
import { variation } from './numbers.ts'
import { addOutcome, noSums, type Sums } from './sums.ts'

/** What the self-test of one generation showed. */
export interface SelfTest {
  readonly moduleId: ModuleId
  readonly generation: GenerationId
  readonly atMs: number
  readonly categories: readonly string[]
  readonly runs: readonly { readonly action: string; readonly ok: boolean; readonly durationMs: number }[]
}

/**
 * The self-tests of each module: its first outcomes.
 *
 * They count for the module itself at every level of its estimate and for no other one: a module that was tested says
 * nothing about one that was not.
 */
export class SelfTests {
  /** Newest generation last. */
  readonly #of = new Map<ModuleId, SelfTest[]>()

  /** A repeated test of a generation replaces the one before. */
  record(test: SelfTest): void {
    const others = (this.#of.get(test.moduleId) ?? []).filter(
      ({ generation }) => generation !== test.generation,
    )
    this.#of.delete(test.moduleId)
    this.#of.set(test.moduleId, [...others, test].slice(-GENERATIONS_MAX))
    const oldest = this.#of.keys().next().value
    if (this.#of.size > MODULES_MAX && oldest !== undefined) this.#of.delete(oldest)
  }

  /** The test of the generation named, of the newest one when none is. */
  latest(moduleId: ModuleId, generation?: GenerationId): SelfTest | undefined {
    const tests = this.#of.get(moduleId)
    return generation === undefined ? tests?.at(-1) : tests?.find((test) => test.generation === generation)
  }

  save(): SelfTest[] {
    return [...this.#of.values()].flat()
  }
}

/** A self-test as outcomes: each run is one. */
export function selfTestSums(test: SelfTest): Readonly<Sums> {
  const known = SUMS.get(test)
  if (known !== undefined) return known
  const sums = noSums()
  for (const { ok } of test.runs) addOutcome(sums, test.atMs, { success: ok, firstPass: ok })
  SUMS.set(test, sums)
  return sums
}

/** A test never changes, and each judgement asks about it. */
const SUMS = new WeakMap<SelfTest, Readonly<Sums>>()

/** Whether a test speaks for this category. A module that lists none serves all of them. */
export function speaksFor(test: SelfTest, category: Category): boolean {
  return test.categories.length === 0 || test.categories.includes(category)
}

/** How unsteady the durations are: within each action, since different actions differ by nature. */
export function selfTestVariation(test: SelfTest | undefined): number | undefined {
  const byAction = Map.groupBy(test?.runs ?? [], ({ action }) => action)
  const each = [...byAction.values()]
    .map((runs) => variation(runs.map(({ durationMs }) => ({ value: durationMs, weight: 1 }))))
    .filter((value) => value !== undefined)
  return each.length === 0 ? undefined : each.reduce((sum, value) => sum + value, 0) / each.length
}

/** Rollbacks go back a few generations; a generation before those is tested again anyway. */
const GENERATIONS_MAX = 4
/** Far above what one daemon supervises; removed modules leave in the order they came. */
const MODULES_MAX = 2_000
