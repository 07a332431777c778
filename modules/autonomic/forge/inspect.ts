import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import type { ActionContext } from 'aeon-nexus/module'

/** As often as the daemon runs them before it trusts a generation. */
const RUNS = 3

interface Check {
  readonly check: string
  readonly ok: boolean
  readonly detail: string
}

export interface Inspection {
  readonly id: string
  readonly path: string
  readonly checks: readonly Check[]
}

interface Manifest {
  readonly id?: unknown
  readonly version?: unknown
  readonly description?: unknown
  readonly entry?: unknown
  readonly config?: { readonly defaults?: object }
  readonly actions?: Readonly<Record<string, { readonly idempotent?: boolean }>>
  readonly self_test?: readonly {
    readonly action: string
    readonly input?: unknown
    readonly expect?: unknown
  }[]
}

type Run = (input: unknown, ctx: ActionContext) => unknown

/**
 * Looks at a module as the daemon would: the manifest, the code imported into this very process, and every self-test,
 * run three times. A check that cannot be made fails the ones that need it, and says so.
 */
export async function inspect(path: string, testMs: number, ctx: ActionContext): Promise<Inspection> {
  const expected = `${basename(dirname(path))}/${basename(path)}`
  const manifest = await readManifest(path)
  if (typeof manifest === 'string') {
    return { id: expected, path, checks: [{ check: 'manifest', ok: false, detail: manifest }] }
  }
  const checks = judgeManifest(manifest, expected)
  const entry = join(path, typeof manifest.entry === 'string' ? manifest.entry : 'index.ts')
  const actions = await importActions(entry)
  if (typeof actions === 'string') {
    return { id: expected, path, checks: [...checks, { check: 'import', ok: false, detail: actions }] }
  }
  checks.push({ check: 'import', ok: true, detail: `${basename(entry)} exports a module` })
  checks.push(judgeActions(manifest, actions))
  for (const [at, test] of (manifest.self_test ?? []).entries()) {
    const own = { ...ctx, id: expected, config: manifest.config?.defaults ?? {} }
    checks.push(await runTest(`self-test ${at + 1}: ${test.action}`, test, actions[test.action], testMs, own))
  }
  return { id: expected, path, checks }
}

async function readManifest(path: string): Promise<Manifest | string> {
  try {
    const parsed: unknown = JSON.parse(await readFile(join(path, 'module.json'), 'utf8'))
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed
    return 'module.json is no JSON object'
  } catch (cause) {
    return cause instanceof SyntaxError
      ? `module.json does not parse: ${cause.message}`
      : 'there is no module.json'
  }
}

function judgeManifest(manifest: Manifest, expected: string): Check[] {
  const version = /^\d+\.\d+\.\d+/.test(String(manifest.version))
  const tests = manifest.self_test ?? []
  const loose = tests
    .filter(({ action }) => manifest.actions?.[action]?.idempotent !== true)
    .map(({ action }) => action)
  return [
    {
      check: 'id',
      ok: manifest.id === expected,
      detail:
        manifest.id === expected ? expected : `the manifest says ${manifest.id}, the folder ${expected}`,
    },
    {
      check: 'version',
      ok: version,
      detail: version ? String(manifest.version) : `${manifest.version} is no version`,
    },
    {
      check: 'description',
      ok: typeof manifest.description === 'string' && manifest.description !== '',
      detail: String(manifest.description ?? 'is missing').slice(0, 120),
    },
    {
      check: 'self-tests',
      ok: tests.length > 0 && loose.length === 0,
      detail:
        loose.length > 0
          ? `only idempotent actions may be self-tested; ${loose.join(', ')} is not`
          : `${tests.length} of idempotent actions`,
    },
  ]
}

/** Imports the entry as it is now: its content is part of the address, since an imported file is never read again. */
async function importActions(entry: string): Promise<Readonly<Record<string, Run>> | string> {
  try {
    const version = createHash('sha256')
      .update(await readFile(entry))
      .digest('hex')
    const loaded = await import(`${pathToFileURL(entry).href}?${version}`)
    const actions = loaded.default?.actions
    return typeof actions === 'object' && actions !== null
      ? actions
      : `${basename(entry)} has no default export with actions`
  } catch (cause) {
    return `${basename(entry)} cannot be imported: ${cause instanceof Error ? cause.message : cause}`
  }
}

function judgeActions(manifest: Manifest, actions: Readonly<Record<string, Run>>): Check {
  const promised = Object.keys(manifest.actions ?? {})
  const absent = promised.filter((name) => typeof actions[name] !== 'function')
  const extra = Object.keys(actions).filter((name) => !promised.includes(name))
  const faults = [
    ...(promised.length === 0 ? ['the manifest lists no action'] : []),
    ...(absent.length > 0 ? [`the code lacks ${absent.join(', ')}`] : []),
    ...(extra.length > 0 ? [`the manifest lacks ${extra.join(', ')}`] : []),
  ]
  const ok = faults.length === 0
  return { check: 'actions', ok, detail: ok ? promised.join(', ') : faults.join('; ') }
}

async function runTest(
  check: string,
  test: { readonly input?: unknown; readonly expect?: unknown },
  run: Run | undefined,
  testMs: number,
  ctx: ActionContext,
): Promise<Check> {
  if (run === undefined) return { check, ok: false, detail: 'the code has no such action' }
  for (let turn = 1; turn <= RUNS; turn += 1) {
    try {
      const answer = await within(testMs, async () => run(structuredClone(test.input ?? {}), ctx))
      if (!contains(answer, test.expect)) {
        const said = JSON.stringify(answer)?.slice(0, 200)
        return {
          check,
          ok: false,
          detail: `run ${turn} answered ${said}, not ${JSON.stringify(test.expect)}`,
        }
      }
    } catch (cause) {
      return {
        check,
        ok: false,
        detail: `run ${turn} failed: ${cause instanceof Error ? cause.message : cause}`,
      }
    }
  }
  return { check, ok: true, detail: `${RUNS} of ${RUNS} runs as expected` }
}

async function within<T>(waitMs: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${waitMs} ms`)), waitMs)
  })
  try {
    return await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}

/** Whether the answer holds what is expected; it may hold more. */
function contains(answer: unknown, expected: unknown): boolean {
  if (expected === undefined) return true
  if (typeof expected !== 'object' || expected === null || Array.isArray(expected)) {
    return isDeepStrictEqual(answer, expected)
  }
  if (typeof answer !== 'object' || answer === null) return false
  return Object.entries(expected).every(([key, inner]) =>
    contains((answer as Record<string, unknown>)[key], inner),
  )
}
