import { hash } from 'node:crypto'
import type { Fact } from '../contracts/fact.ts'
import { redacted } from '../telemetry/redact.ts'

/** Parameters up to this size stand in the record as they are; larger ones by size and hash. */
const INLINE_BYTES_MAX = 2_048
const RESULT_FIELDS_MAX = 12

/** Which intended effects have no outcome yet, folded from the journal: what a crash left open. */
export class OpenIntents {
  readonly #open = new Map<number, string>()

  fold(fact: Fact): void {
    if (fact.type === 'command.intended') this.#open.set(fact.seq, String(fact.d['command']))
    if (fact.type === 'command.done') this.#open.delete(Number(fact.d['intent']))
  }

  load(saved: unknown): void {
    this.#open.clear()
    if (!Array.isArray(saved)) return
    for (const [seq, command] of saved as [number, string][]) this.#open.set(seq, command)
  }

  /** Sequence number of the intent, and its command; oldest first. */
  list(): readonly (readonly [seq: number, command: string])[] {
    return [...this.#open]
  }
}

/** What a record keeps of parameters: no operator key, nothing that is named a secret, no more than a line can hold. */
export function summariseParams(params: object): unknown {
  const { operator_key: _, ...rest } = params as Record<string, unknown>
  return inlineOrHash(rest)
}

/** What a record keeps of a result: its plain fields. */
export function summariseResult(result: object): unknown {
  const plain = Object.entries(result)
    .filter(([, value]) => value === null || ['string', 'number', 'boolean'].includes(typeof value))
    .slice(0, RESULT_FIELDS_MAX)
  return inlineOrHash(Object.fromEntries(plain))
}

function inlineOrHash(value: Readonly<Record<string, unknown>>): unknown {
  const text = JSON.stringify(value)
  const bytes = Buffer.byteLength(text)
  return bytes <= INLINE_BYTES_MAX ? withoutSecrets(value) : { bytes, sha256: hash('sha256', text) }
}

/** A setting has its name and its value side by side. */
function withoutSecrets(body: Readonly<Record<string, unknown>>): object {
  const { key } = body
  const name = typeof key === 'string' ? key : ''
  const entries = Object.entries(body).map(([field, value]) => {
    const isSetting = field === 'value' || field === 'previous'
    return [field, redacted(value, isSetting ? name : field)] as const
  })
  return Object.fromEntries(entries)
}
