import type { Fact } from '../contracts/fact.ts'
import { outcomeOf } from './facts.ts'
import { ENOUGH, PREDICTION_KINDS, type PredictionKind, type Scored, Scores, type Skill } from './scores.ts'

/**
 * Our own predictions against what then happened, by kind.
 *
 * Each mission carries the probability of success it was judged with, and its outcome says whether it came true; the
 * other kinds are told by the book in which they are made and resolved. Expired ones are not scored.
 */
export class Calibration {
  readonly #scores = new Map(PREDICTION_KINDS.map((kind) => [kind, new Scores(kind)]))

  fold(fact: Fact): void {
    if (fact.type !== 'mission.ended') return
    const outcome = outcomeOf(fact)
    // What was stated is the success; seen from the failure the errors are the same.
    if (outcome !== undefined) this.of('mission_failure').push(outcome.predicted, outcome.success)
  }

  of(kind: PredictionKind): Scores {
    const scores = this.#scores.get(kind)
    if (scores === undefined) throw new Error(`no scores are kept of ${kind}`)
    return scores
  }

  /** For the axis of confidence: 1 − error/0.25 of what was said about missions, and 1 until there is enough to tell. */
  get factor(): number {
    const scores = this.of('mission_failure')
    return scores.n < ENOUGH ? 1 : 1 - Math.min(1, scores.calibrationError / 0.25)
  }

  skills(): Skill[] {
    return [...this.#scores.values()].map((scores) => scores.skill())
  }

  save(): readonly (readonly [PredictionKind, readonly Scored[]])[] {
    return [...this.#scores].map(([kind, scores]) => [kind, scores.save()])
  }

  load(saved: ReturnType<Calibration['save']>): void {
    for (const [kind, scored] of saved) this.of(kind).load(scored)
  }
}
