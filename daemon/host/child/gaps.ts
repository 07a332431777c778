import { registerHooks, syncBuiltinESMExports } from 'node:module'
import os from 'node:os'

/**
 * Closes what Node's permissions leave open: built-in modules that do not ask them, and calls that reach other
 * processes by their number. Whoever is determined will find a way around; a mistake will not.
 */
export function closeGaps(): void {
  registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context)
      refuse(found.url)
      return found
    },
  })
  const { getBuiltinModule } = process
  replace(process, 'getBuiltinModule', (name: string) => {
    refuse(name)
    return getBuiltinModule.call(process, name)
  })
  // What `process.kill` calls; it says EPERM for what is refused here.
  const inner = process as unknown as Inner
  const { _kill, _debugProcess } = inner
  replace(inner, '_kill', (pid, signal) => (isOwn(pid) ? _kill.call(process, pid, signal) : NOT_PERMITTED))
  replace(inner, '_debugProcess', (pid) => {
    if (!isOwn(pid)) throw denial('signals to other processes are not among its permissions')
    _debugProcess.call(process, pid)
  })
  const { setPriority } = os
  replace(os, 'setPriority', (...[first, second]: number[]) => {
    const [pid, priority] = second === undefined ? [0, first] : [first, second]
    if (!isOwn(Number(pid))) throw denial('other processes are not its own')
    setPriority(Number(pid), Number(priority))
  })
  syncBuiltinESMExports()
}

/** An argument of the runner: the wall is all there is, so its gaps are to be closed. */
export const GAPS_FLAG = 'close-gaps'

interface Inner {
  _kill(pid: number, signal: number): number
  _debugProcess(pid: number): void
}

function replace<Owner extends object, Name extends keyof Owner>(
  owner: Owner,
  name: Name,
  value: Owner[Name],
): void {
  Object.defineProperty(owner, name, { value, enumerable: true })
}

function refuse(name: string): void {
  const reason = CLOSED.get(name.replace(/^node:/, ''))
  if (reason !== undefined) throw denial(`${name} ${reason}`)
}

/** 0 is its own group. */
function isOwn(pid: number): boolean {
  return pid === process.pid || pid === 0
}

function denial(message: string): Error {
  return Object.assign(new Error(message), { code: 'ERR_ACCESS_DENIED' })
}

const CLOSED: ReadonlyMap<string, string> = new Map([
  ['sqlite', "opens any file, whatever the module's permissions; set `sandbox` in its module.json to use it"],
  ['inspector', "lets code out of the module's permissions"],
  ['inspector/promises', "lets code out of the module's permissions"],
])
const NOT_PERMITTED = -os.constants.errno.EPERM
