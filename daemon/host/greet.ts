import { type Clock, sleep } from '../kit/clock.ts'
import { withDeadline } from '../kit/deadline.ts'
import type { HostProcess } from './host-process.ts'
import { BOOT_MS_MAX } from './machine.ts'
import type { SpawnOrder } from './port.ts'
import { lookInside } from './sandbox-proof.ts'
import { startFailure } from './start-failure.ts'

type Wish = Pick<SpawnOrder, 'moduleId' | 'permissions'>

/**
 * Waits until a host has said hello, and believes in its wall when it has seen it.
 *
 * @param hidden - A file of the daemon's own that no sandbox shows.
 * @throws NexusError `MODULE_START_FAILED`, phase `spawn`; the host is gone then.
 */
export async function greet(host: HostProcess, wish: Wish, clock: Clock, hidden: string): Promise<void> {
  try {
    const silent = (): Error => new Error('the host did not say hello')
    const hello = await withDeadline(clock, BOOT_MS_MAX, host.hello, silent)
    if (host.isolation === 'node-permission' && !hello.walled)
      throw new Error('the host is not behind its wall')
  } catch (error) {
    await dismiss(host)
    throw refusal(host, wish, (error as Error).message)
  }
  await proveSandbox(host, wish, clock, hidden)
}

/**
 * Looks from outside whether the sandbox that a host was started in really stands, and finds the program in it.
 * Does nothing for a host that was started in none.
 *
 * @throws NexusError `MODULE_START_FAILED`, phase `spawn`, final until somebody changes something; the host is gone then.
 */
export async function proveSandbox(
  host: HostProcess,
  wish: Wish,
  clock: Clock,
  hidden: string,
): Promise<void> {
  if (host.isolation !== 'bwrap') return
  for (let waitMs = 1; waitMs < LOOK_MS_MAX && host.alive; waitMs *= 2) {
    const seen = lookInside(host.pid ?? 0, wish.permissions.net, hidden)
    if (seen?.shared.length === 0) {
      host.inner = seen
      return
    }
    await sleep(clock, waitMs)
  }
  const ending = host.alive ? undefined : await host.ended
  await dismiss(host)
  const unseen = 'the sandbox cannot be seen from outside, so it is not believed'
  throw refusal(host, wish, ending === undefined ? unseen : host.explain(ending))
}

/** A module that wants a sandbox where none can be had. Final: it will be no other until somebody acts. */
export function sandboxRefusal(moduleId: string, reason: string): Error {
  const remedy =
    'install bubblewrap 0.7 or newer (`apt install bubblewrap`) where user namespaces are allowed, ' +
    'or remove `sandbox` from its module.json; then start the module again'
  const text = `it asks for a sandbox and there is none: ${reason}; ${remedy}`
  return startFailure(moduleId, 'spawn', text, { unloadable: 1, remedy })
}

function refusal(host: HostProcess, { moduleId }: Wish, reason: string): Error {
  // What bubblewrap itself complains about is no fault of the module.
  const isSandbox = host.isolation === 'bwrap' && /^bwrap: |cannot be seen/m.test(reason)
  return isSandbox ? sandboxRefusal(moduleId, reason) : startFailure(moduleId, 'spawn', reason)
}

async function dismiss(host: HostProcess): Promise<void> {
  host.signal('SIGKILL')
  await host.ended
}

/** The program is started within milliseconds of the sandbox; a busy machine takes longer. */
const LOOK_MS_MAX = 2_048
