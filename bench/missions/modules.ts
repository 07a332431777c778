import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** The module whose missions are measured, and two others, so that history is not all of one kind. */
export const MODULES = ['bench/noop', 'bench/other', 'bench/flaky'] as const

/** What one mission of the measured load looks like; the body of a create. */
export function missionBody(at: number, action = 'again', module: string = MODULES[0]): object {
  return {
    goal: 'Optimize lead conversion process',
    category: 'coin',
    constraints: { max_time_seconds: 60, max_steps: 3 },
    plan: [{ id: 'only', uses: `${module}/${action}`, with: { i: at } }],
  }
}

/** Writes the modules into `dir/modules`: plain JavaScript that answers at once. */
export function writeWorkers(dir: string): void {
  for (const id of MODULES) {
    const folder = join(dir, 'modules', id)
    mkdirSync(folder, { recursive: true })
    replace(join(folder, 'module.json'), JSON.stringify(manifest(id)))
    replace(join(folder, 'index.js'), CODE)
  }
}

function manifest(id: string): object {
  const action = (idempotent: boolean, description: string): object => ({
    description,
    idempotent,
    concurrency: 64,
  })
  return {
    id,
    version: '1.0.0',
    description: 'the work of a benchmark',
    categories: ['coin', 'forge', 'library', 'sanctuary'],
    actions: {
      again: action(true, 'answers at once; may be called again'),
      once: action(false, 'answers at once; may not be called again'),
      fail: action(true, 'fails'),
      plan: action(true, 'plans one step'),
    },
    // Proven by its self-test, so that its missions are SAFE from the first one on.
    self_test: [{ action: 'again', input: { i: 0 }, expect: { ok: true, i: 0 } }],
  }
}

const CODE = `
const work = async ({ i }) => ({ ok: true, i })
export default {
  actions: {
    again: work,
    once: work,
    fail: async ({ i }) => { throw new TypeError('the lead ' + i + ' has no address') },
    plan: async () => ({ plan: [] }),
  },
}
`

function replace(file: string, text: string): void {
  writeFileSync(`${file}~`, text)
  renameSync(`${file}~`, file)
}
