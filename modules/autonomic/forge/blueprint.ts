import { isTemplate, TEMPLATES, type Template, type TemplateName } from './templates.ts'

const SEGMENT = /^[a-z0-9][a-z0-9-]{0,62}$/

export interface ScaffoldRequest {
  readonly id: string
  readonly description?: string
  readonly actions?: readonly (string | ActionRequest)[] | undefined
}

interface ActionRequest {
  readonly name: string
  readonly template?: TemplateName
  readonly description?: string
}

/** What is going to be written, decided in full. */
export interface Blueprint {
  readonly id: string
  readonly description: string
  readonly actions: readonly {
    readonly name: string
    readonly description: string
    readonly template: Template
  }[]
}

/**
 * Completes a request. An action named like a template is made from it; any other begins as an echo.
 *
 * @throws Error when an id or the actions cannot be those of a module.
 */
export function draw(request: ScaffoldRequest): Blueprint {
  checkId(request.id)
  const wanted: unknown = request.actions ?? ['echo']
  if (!Array.isArray(wanted) || wanted.length === 0) throw new Error('actions is a list of at least one name')
  const actions = wanted.map((given: string | ActionRequest) => {
    const { name, template, description }: ActionRequest = typeof given === 'string' ? { name: given } : given
    if (typeof name !== 'string' || !SEGMENT.test(name))
      throw new Error(`${name} is no name of an action: use a-z, 0-9 and hyphens`)
    if (template !== undefined && !isTemplate(template)) {
      throw new Error(`there is no template ${template}; there are ${Object.keys(TEMPLATES).join(', ')}`)
    }
    const chosen: Template = TEMPLATES[template ?? (isTemplate(name) ? name : 'echo')]
    return { name, description: description ?? chosen.description, template: chosen }
  })
  const names = actions.map(({ name }) => name)
  if (new Set(names).size < names.length) throw new Error(`an action comes twice among ${names.join(', ')}`)
  const line = (request.description ?? `The module ${request.id}.`).replace(/\s+/g, ' ').trim()
  return { id: request.id, description: line.slice(0, 500) || `The module ${request.id}.`, actions }
}

/** @throws Error saying what an id looks like. */
export function checkId(id: string): void {
  const [group = '', name = '', ...rest] = id.split('/')
  if (rest.length > 0 || !SEGMENT.test(group) || !SEGMENT.test(name)) {
    throw new Error(
      `${id} is no id of a module: it is <group>/<name>, each of a-z, 0-9 and hyphens, such as custom/word-count`,
    )
  }
}

/** Words that ask for a module rather than name it. */
const ASKING = new Set(
  (
    'a an and another build create develop do for forge generate from i implement in it make me module modules my need ' +
    'new of on our please plugin scaffold simple small some tool that the this to us want we which will with write'
  ).split(' '),
)

/** An id made of what a goal names: its first four telling words. */
export function idFor(goal: string, group: string): string {
  const plain = goal.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()
  const all = plain.match(/[a-z0-9]+/g) ?? []
  const telling = all.filter((word) => !ASKING.has(word))
  const words = (telling.length > 0 ? telling : ['module']).slice(0, 4)
  return `${group}/${words.join('-').slice(0, 56).replace(/-+$/, '')}`
}
