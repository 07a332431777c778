import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification } from '../contracts/manifest.ts'
import { type Checker, foreignChecker, sentenceOf } from '../kit/schema.ts'

/** Judges what actions are called with by the schemas of their manifests; each is compiled once. */
export class ActionInputs {
  readonly #checks = new WeakMap<ActionSpecification, Checker<unknown>>()

  /** The input with defaults filled in. @throws NexusError `ACTION_INPUT_INVALID` with pointers. */
  check(module: string, action: string, spec: ActionSpecification, input: unknown): unknown {
    const checked = this.#checkOf(spec)(input ?? {})
    if (checked.ok) return checked.value
    const facts = { module, action, detail: sentenceOf(checked.issues) }
    throw new NexusError('ACTION_INPUT_INVALID', facts, { issues: checked.issues })
  }

  #checkOf(spec: ActionSpecification): Checker<unknown> {
    const known = this.#checks.get(spec)
    if (known !== undefined) return known
    const check: Checker<unknown> =
      spec.input === undefined
        ? (value) => ({ ok: true, value })
        : foreignChecker(spec.input, { defaults: true })
    this.#checks.set(spec, check)
    return check
  }
}
