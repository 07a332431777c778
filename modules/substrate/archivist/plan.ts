import { slug } from './library.ts'
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
  readonly needs?: readonly string[]
}

/** What a library mission's input may hold. */
const FIELDS = ['query', 'path', 'paths', 'limit', 'note']

/**
 * Search, then keep; in one step where only one is allowed. The query is the mission's, or its goal.
 *
 * What cannot work is said now, before the mission is judged: a field nobody reads, a folder that may not be read.
 */
export async function plan(
  request: PlanRequest,
  self: string,
  roots: readonly string[],
): Promise<{ plan: PlanStep[] }> {
  const input = request.input ?? {}
  if (typeof input !== 'object' || Array.isArray(input)) {
    throw new Error(`the input of a library mission is an object with ${FIELDS.join(', ')}, or absent`)
  }
  const given = new Map(Object.entries(input).filter(([, value]) => value !== null && value !== undefined))
  const unknown = [...given.keys()].filter((name) => !FIELDS.includes(name))
  if (unknown.length > 0) {
    throw new Error(
      `the archivist does not know input.${unknown.join(', input.')}; it reads ${FIELDS.join(', ')}`,
    )
  }
  if (given.has('path') && given.has('paths')) throw new Error('give input.path or input.paths, not both')
  for (const path of [given.get('path') ?? given.get('paths') ?? []].flat()) await reach(String(path), roots)

  const place = given.has('path') ? 'path' : 'paths'
  const query = given.has('query') ? { $from: 'input.query' } : request.goal
  const note = given.has('note') ? { $from: 'input.note' } : request.goal
  const search = {
    query,
    ...(given.has(place) ? { in: { $from: `input.${place}` } } : {}),
    ...(given.has('limit') ? { limit: { $from: 'input.limit' } } : {}),
  }
  const name = slug(request.goal)
  if ((request.constraints?.max_steps ?? 2) < 2) {
    return { plan: [{ id: 'search', uses: `${self}/search`, with: { ...search, keep_as: name, note } }] }
  }
  const hits = { $from: 'steps.search.output.hits' }
  return {
    plan: [
      { id: 'search', uses: `${self}/search`, with: search },
      { id: 'keep', uses: `${self}/keep`, with: { name, query, note, hits }, needs: ['search'] },
    ],
  }
}
