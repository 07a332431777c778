import { reach } from './reach.ts'

interface PlanRequest {
  readonly goal: string
  readonly constraints?: { readonly max_steps?: number }
  readonly input?: unknown
}

interface PlanStep {
  readonly id: string
  readonly uses: string
  readonly with: Readonly<Record<string, unknown>>
}

/** What a coin mission's input may hold: the input of `analyse`. */
const FIELDS = ['path', 'records', 'target', 'target_value', 'format', 'delimiter', 'header']

/**
 * One step, whatever `max_steps` allows. It refers to the mission's input rather than repeating it.
 *
 * What cannot work is said now, before the mission is judged: a field nobody reads, a file that is not there or may not
 * be read.
 */
export async function plan(
  request: PlanRequest,
  self: string,
  roots: readonly string[],
): Promise<{ plan: PlanStep[] }> {
  const input = request.input ?? {}
  if (typeof input !== 'object' || Array.isArray(input)) {
    throw new Error(`the input of a coin mission is an object with ${FIELDS.join(', ')}, or absent`)
  }
  const given = Object.entries(input).filter(([, value]) => value !== null && value !== undefined)
  const unknown = given.map(([name]) => name).filter((name) => !FIELDS.includes(name))
  if (unknown.length > 0) {
    throw new Error(
      `the analyst does not know input.${unknown.join(', input.')}; it reads ${FIELDS.join(', ')}`,
    )
  }
  const path = given.find(([name]) => name === 'path')?.[1]
  if (typeof path === 'string') await reach(path, roots)
  const references = given.map(([name]) => [name, { $from: `input.${name}` }])
  return { plan: [{ id: 'analyse', uses: `${self}/analyse`, with: Object.fromEntries(references) }] }
}
