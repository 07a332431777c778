import { execFile } from 'node:child_process'
import { accessSync, constants, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Clock } from '../kit/clock.ts'
import { withDeadline } from '../kit/deadline.ts'
import { type HostLedger, HostProcess } from './host-process.ts'
import { DEFAULT_PROFILE, type Machine, planLaunch } from './isolation.ts'
import { RpcBroken } from './rpc.ts'
import { findRunner } from './runner-files.ts'

/** What there is to find out about, beside the machine itself. */
export interface Surroundings {
  readonly clock: Clock
  readonly ledger: HostLedger
  readonly generationsDir: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Told of each way in which hosts cannot be started here. */
  refused?(way: RefusedWay): void
}

/** A way to start hosts that does not work on this machine, and what the host said about it. */
export interface RefusedWay {
  /** With `setpriv`, so that the kernel ends hosts with the daemon. */
  readonly tethered: boolean
  readonly walled: boolean
  readonly report: string
}

/**
 * Finds out how hosts can be started here: the first way in which one comes up is the way for all.
 *
 * The wall is believed when a host has been seen behind it, not when a flag was accepted. Not every `setpriv` knows
 * `--pdeathsig` (that of BusyBox does not). Only a host that ends, or is not behind its wall, rules a way out: one
 * that is merely slow must not cost every module its wall.
 *
 * @returns The host that came up, too: it is a spare now. None came up: then each start will say why.
 */
export async function exploreMachine(
  around: Surroundings,
): Promise<{ machine: Machine; first?: HostProcess }> {
  const path = around.env['PATH'] ?? '/usr/bin:/bin'
  const plain: Machine = {
    node: process.execPath,
    setpriv: undefined,
    prlimit: await findLimiter(path),
    bwrap: findProgram('bwrap', path),
    walled: false,
    deniesNet: process.allowedNodeEnvironmentFlags.has('--allow-net'),
    closesInspector: process.allowedNodeEnvironmentFlags.has('--allow-inspector'),
    runner: findRunner(),
    generationsDir: realpathSync(around.generationsDir),
    env: around.env,
  }
  const setpriv = findProgram('setpriv', path)
  const tethered: Machine[] = setpriv === undefined ? [] : [{ ...plain, setpriv }]
  const ways = [...tethered, plain].flatMap((way) => [{ ...way, walled: true }, way])
  for (const machine of ways) {
    const { found, first, report } = await tryOut(machine, around)
    if (found) return { machine, ...(first === undefined ? {} : { first }) }
    around.refused?.({ tethered: machine.setpriv !== undefined, walled: machine.walled, report })
  }
  return { machine: { ...plain, ...tethered[0], walled: true } }
}

/** What came of one way: whether it is the way, the host that came up, or why it is not. */
interface Trial {
  readonly found: boolean
  readonly first?: HostProcess
  readonly report: string
}

async function tryOut(machine: Machine, { clock, ledger }: Surroundings): Promise<Trial> {
  const host = new HostProcess(planLaunch(machine, DEFAULT_PROFILE), clock, ledger)
  const trial = await withDeadline(clock, BOOT_MS_MAX, host.hello, () => new RpcBroken('expired')).then(
    (hello): Trial =>
      hello.walled === machine.walled
        ? { found: true, first: host, report: '' }
        : { found: false, report: 'the host is not behind its wall' },
    (error: Error): Trial => ({ found: error instanceof RpcBroken, report: error.message }),
  )
  if (trial.first !== undefined) return trial
  host.signal('SIGKILL')
  await host.ended
  return trial
}

/** `prlimit`, when a process behind it has been seen to have the limit. */
async function findLimiter(path: string): Promise<string | undefined> {
  const prlimit = findProgram('prlimit', path)
  if (prlimit === undefined) return undefined
  const flags = ['--nofile=64:64', '--core=0:0', `--data=${2 ** 40}:${2 ** 40}`, '--']
  return await new Promise((resolve) => {
    const options = { timeout: BOOT_MS_MAX, env: { PATH: path } }
    execFile(prlimit, [...flags, 'cat', '/proc/self/limits'], options, (error, text) =>
      resolve(error === null && /^Max open files +64 /m.test(text) ? prlimit : undefined),
    )
  })
}

function findProgram(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** A boot takes 50 ms on an idle machine; one that swaps or starts fifty modules at once takes longer. */
export const BOOT_MS_MAX = 20_000
