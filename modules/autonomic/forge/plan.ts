import { checkId, draw, idFor, type ScaffoldRequest } from './blueprint.ts'
import { render } from './files.ts'
import { isTaken, placeFor } from './place.ts'
import { templatesFor } from './templates.ts'

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

/** What a forge mission's input may hold. */
const FIELDS = ['id', 'description', 'actions'] as const

/**
 * Scaffold, then inspect; in one step where only one is allowed. The id is the mission's, or made of its goal, and then
 * one that is free.
 */
export async function plan(
  request: PlanRequest,
  self: string,
  dataDir: string,
  group: string,
): Promise<{ plan: PlanStep[] }> {
  const input = request.input ?? {}
  if (typeof input !== 'object' || Array.isArray(input)) {
    throw new Error(`the input of a forge mission is an object with ${FIELDS.join(', ')}, or absent`)
  }
  const given = new Map(Object.entries(input).filter(([, value]) => value !== null && value !== undefined))
  const unknown = [...given.keys()].filter((name) => !FIELDS.some((field) => field === name))
  if (unknown.length > 0) {
    throw new Error(
      `the forge does not know input.${unknown.join(', input.')}; it reads ${FIELDS.join(', ')}`,
    )
  }

  const description = String(given.get('description') ?? request.goal)
  const actions: ScaffoldRequest['actions'] = given.get('actions') ?? templatesFor(request.goal)
  const wanted = given.get('id')
  if (wanted !== undefined) checkId(String(wanted))
  const id = wanted ?? (await freeId(idFor(request.goal, group), description, actions, dataDir))
  const blueprint = { id: String(id), description, actions }
  if (await isTaken(placeFor(dataDir, blueprint.id), render(draw(blueprint)))) {
    throw new Error(`a different ${blueprint.id} is forged already: give another input.id, or remove it`)
  }

  const reference = (field: (typeof FIELDS)[number], otherwise: unknown): unknown =>
    given.has(field) ? { $from: `input.${field}` } : otherwise
  const scaffold = {
    id: reference('id', id),
    description: reference('description', request.goal),
    actions: reference('actions', actions),
  }
  const first = { id: 'scaffold', uses: `${self}/scaffold` }
  if ((request.constraints?.max_steps ?? 2) < 2)
    return { plan: [{ ...first, with: { ...scaffold, verify: true } }] }
  return {
    plan: [
      { ...first, with: scaffold },
      {
        id: 'inspect',
        uses: `${self}/inspect`,
        with: { path: { $from: 'steps.scaffold.output.path' } },
        needs: ['scaffold'],
      },
    ],
  }
}

/** The id itself, or with the first number that nothing else has taken. */
async function freeId(
  id: string,
  description: string,
  actions: ScaffoldRequest['actions'],
  dataDir: string,
): Promise<string> {
  for (let turn = 1; turn < 1_000; turn += 1) {
    const name = turn === 1 ? id : `${id}-${turn}`
    const files = render(draw({ id: name, description, actions }))
    if (!(await isTaken(placeFor(dataDir, name), files))) return name
  }
  throw new Error(`too many modules are called ${id}: give input.id`)
}
