import { isIP } from 'node:net'
import { isAbsolute, normalize } from 'node:path'
import { COMMANDS } from '../contracts/command.ts'
import type { Issue } from '../contracts/failure.ts'
import type { ModuleId } from '../contracts/ids.ts'
import type { Manifest } from '../contracts/manifest.ts'
import { didYouMean } from '../kit/nearest.ts'
import { type Checker, foreignChecker } from '../kit/schema.ts'

/** What is wrong with a manifest whose shape is right: everything that one field says about another. */
export function judgeManifest(moduleId: ModuleId, manifest: Manifest): Issue[] {
  const named: Issue[] =
    manifest.id === moduleId
      ? []
      : [{ pointer: '/id', detail: `is ${manifest.id}, but the folder says ${moduleId}; rename one of them` }]
  return [
    ...named,
    ...unbuilt(manifest),
    ...sandboxIssues(manifest),
    ...programIssues(manifest),
    ...permissionIssues(manifest.permissions),
    ...configIssues(manifest.config),
    ...actionIssues(manifest),
    ...limitIssues(manifest),
    ...requireIssues(manifest.requires),
    ...listenIssues(manifest.listen),
  ]
}

/** Valid words of the format that this version does not keep: refused, since ignoring them would be a lie. */
function unbuilt(manifest: Manifest): Issue[] {
  const issues: Issue[] = []
  if (manifest.reload === 'canary') {
    const detail = '"canary" is not built yet; take "rolling", whose first instance shows bad code alone'
    issues.push({ pointer: '/reload', detail })
  }
  if (manifest.permissions.secrets.length > 0) {
    const detail = 'is not built yet; remove it, and hand the secret over by `env` or a file meanwhile'
    issues.push({ pointer: '/permissions/secrets', detail })
  }
  return issues
}

function sandboxIssues({ sandbox, runtime }: Manifest): Issue[] {
  if (!sandbox || runtime !== 'shared') return []
  const detail = 'is built around one module; remove it, or `"runtime": "shared"`'
  return [{ pointer: '/sandbox', detail }]
}

/** What runs: a file of JavaScript, or any program. */
function programIssues({ runtime, entry, command }: Manifest): Issue[] {
  if (runtime !== 'exec') {
    const detail = 'belongs to the runtime "exec"; add `"runtime": "exec"`, or name an `entry` instead'
    return [...(command === undefined ? [] : [{ pointer: '/command', detail }]), ...entryIssues(entry)]
  }
  const stray = 'does not go with the runtime "exec"; name the program in `command`'
  const issues = entry === undefined ? [] : [{ pointer: '/entry', detail: stray }]
  if (command !== undefined) return [...issues, ...commandIssues(command)]
  const detail = 'is missing; the runtime "exec" needs the program and its arguments'
  return [...issues, { pointer: '/command', detail }]
}

function commandIssues(command: readonly string[]): Issue[] {
  const [program = ''] = command
  const issue = (index: number, detail: string): Issue => ({ pointer: `/command/${index}`, detail })
  const nul = command.findIndex((word) => word.includes('\0'))
  if (nul !== -1) return [issue(nul, 'has a NUL character in it')]
  if (isAbsolute(program) || normalize(program).startsWith('..')) {
    return [issue(0, 'must be a path inside the module folder (./serve), or the name of a program on PATH')]
  }
  return []
}

function entryIssues(entry: string | undefined): Issue[] {
  if (entry === undefined) return []
  const issue = (detail: string): Issue[] => [{ pointer: '/entry', detail }]
  if (entry.includes('\0')) return issue('has a NUL character in it')
  if (isAbsolute(entry) || normalize(entry).startsWith('..')) {
    return issue('must be inside the module folder; give a path relative to it')
  }
  if (!/\.(m?js|cjs|m?ts)$/.test(entry)) return issue('must be a .js or .ts file')
  return []
}

function permissionIssues(permissions: Manifest['permissions']): Issue[] {
  const issues: Issue[] = []
  const check = (
    field: 'fs_read' | 'fs_write' | 'env' | 'commands',
    judge: (text: string) => string | undefined,
  ) => {
    for (const [index, text] of permissions[field].entries()) {
      const detail = judge(text)
      if (detail !== undefined) issues.push({ pointer: `/permissions/${field}/${index}`, detail })
    }
  }
  check('fs_read', (path) => pathFault(path, ['$DATA', '$ROOTS', '$RECORDS']))
  check('fs_write', (path) => pathFault(path, ['$DATA', '$ROOTS']))
  check('env', (name) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? undefined : 'is no name of a variable'))
  check('commands', (name) =>
    name in COMMANDS ? undefined : `${name} is no command${didYouMean(name, Object.keys(COMMANDS))}`,
  )
  return issues
}

function pathFault(path: string, words: readonly string[]): string | undefined {
  if (words.includes(path) || path.startsWith('$DATA/')) {
    return path.split('/').includes('..') ? 'must not climb with ..' : undefined
  }
  if (!isAbsolute(path)) return `must be an absolute path, or one of ${words.join(', ')}`
  if (/[\0*]/.test(path) || path.split('/').includes('..')) return 'must be a plain path, without * and ..'
  return undefined
}

function configIssues(config: Manifest['config']): Issue[] {
  const schema = compile(config.schema, '/config/schema')
  if (!schema.ok) return [schema.issue]
  return below('/config/defaults', schema.check, config.defaults)
}

function actionIssues(manifest: Manifest): Issue[] {
  const inputs = new Map<string, Checker<unknown>>()
  const issues: Issue[] = []
  for (const [name, action] of Object.entries(manifest.actions)) {
    for (const side of ['input', 'output'] as const) {
      const schema = compile(action[side] ?? {}, `/actions/${name}/${side}`)
      if (!schema.ok) issues.push(schema.issue)
      else if (side === 'input') inputs.set(name, schema.check)
    }
  }
  issues.push(...selfTestIssues(manifest, inputs))
  const plan = manifest.actions['plan']
  if (manifest.categories.length > 0 && plan?.idempotent !== true) {
    const detail = 'need an action `plan` that is `idempotent`: planning is asked again after a crash'
    issues.push({ pointer: '/categories', detail })
  }
  return issues
}

function selfTestIssues(manifest: Manifest, inputs: ReadonlyMap<string, Checker<unknown>>): Issue[] {
  return manifest.self_test.flatMap((test, index) => {
    const pointer = `/self_test/${index}`
    const action = manifest.actions[test.action]
    if (action === undefined) {
      const hint = didYouMean(test.action, Object.keys(manifest.actions))
      return [{ pointer: `${pointer}/action`, detail: `names ${test.action}, which is no action${hint}` }]
    }
    if (!action.idempotent) {
      const detail = `names ${test.action}, which is not \`idempotent\`: a self-test runs at every start`
      return [{ pointer: `${pointer}/action`, detail }]
    }
    const check = inputs.get(test.action)
    return check === undefined ? [] : below(`${pointer}/input`, check, test.input ?? {})
  })
}

function limitIssues({ runtime, limits, restart }: Manifest): Issue[] {
  const issues: Issue[] = []
  if (runtime === 'process' && limits.memory_mb < HOST_MB_MIN) {
    const detail = `must be ${HOST_MB_MIN} at least: Node itself takes up to 90; "runtime": "shared" needs less`
    issues.push({ pointer: '/limits/memory_mb', detail })
  }
  if (limits.heartbeat_kill_ms <= limits.heartbeat_suspect_ms) {
    issues.push({ pointer: '/limits/heartbeat_kill_ms', detail: 'must be above heartbeat_suspect_ms' })
  }
  if (restart.backoff_max_ms < restart.backoff_ms) {
    issues.push({ pointer: '/restart/backoff_max_ms', detail: 'must not be below backoff_ms' })
  }
  return issues
}

/** An idle host, and something to work with. */
const HOST_MB_MIN = 128

function requireIssues(requires: readonly string[]): Issue[] {
  return requires.flatMap((id, index) =>
    requires.indexOf(id) < index
      ? [{ pointer: `/requires/${index}`, detail: `names ${id} a second time` }]
      : [],
  )
}

function listenIssues(listen: Manifest['listen']): Issue[] {
  return listen.flatMap(({ name, host, port }, index) => {
    const earlier = listen.slice(0, index)
    const issue = (field: string, detail: string): Issue => ({ pointer: `/listen/${index}/${field}`, detail })
    return [
      ...(isIP(host) > 0 || host === 'localhost'
        ? []
        : [issue('host', 'must be an address, or localhost: what a name leads to can change')]),
      ...(earlier.some((other) => other.name === name) ? [issue('name', `is ${name} a second time`)] : []),
      ...(earlier.some((other) => other.port === port && other.host === host)
        ? [issue('port', `is ${port} a second time on ${host}`)]
        : []),
    ]
  })
}

type Compiled =
  | { readonly ok: true; readonly check: Checker<unknown> }
  | { readonly ok: false; readonly issue: Issue }

function compile(schema: object, pointer: string): Compiled {
  const text = JSON.stringify(schema)
  const known = compiled.get(text)
  if (known !== undefined) return { ok: true, check: known }
  try {
    const check = foreignChecker(schema)
    if (compiled.size >= COMPILED_MAX) compiled.clear()
    compiled.set(text, check)
    return { ok: true, check }
  } catch (error) {
    // Whatever ajv throws is about the schema: it is text from a stranger.
    const reason = error instanceof Error ? error.message : String(error)
    return { ok: false, issue: { pointer, detail: `is no JSON Schema (draft 2020-12): ${reason}` } }
  }
}

/** A manifest is read at every save, its schemas rarely change, and what ajv compiled once it never lets go. */
const compiled = new Map<string, Checker<unknown>>()
const COMPILED_MAX = 1_000

function below(pointer: string, check: Checker<unknown>, value: unknown): Issue[] {
  const checked = check(value)
  return checked.ok
    ? []
    : checked.issues.map((issue) => ({ ...issue, pointer: `${pointer}${issue.pointer}` }))
}
