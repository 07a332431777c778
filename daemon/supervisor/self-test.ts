import { NexusError } from '../contracts/failure.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { Instance } from '../host/port.ts'
import type { Clock } from '../kit/clock.ts'

export interface SelfTestRun {
  readonly action: string
  readonly ok: true
  readonly duration_ms: number
}

/** Three runs are the least from which steadiness can be read. */
const RUNS = 3

/**
 * Runs every self-test three times on a new instance, before it takes calls.
 *
 * @throws NexusError `MODULE_START_FAILED`, phase `self_test`, at the first answer that is not as expected.
 */
export async function selfTest(manifest: Manifest, instance: Instance, clock: Clock): Promise<SelfTestRun[]> {
  const runs: SelfTestRun[] = []
  for (const { action, input, expect } of manifest.self_test) {
    for (let run = 0; run < RUNS; run += 1) {
      const startedMs = clock.elapsed()
      const output = await ask(manifest, instance, action, input)
      if (!contains(output, expect)) throw failure(manifest.id, `${action} answered ${shorten(output)}`)
      runs.push({ action, ok: true, duration_ms: Math.max(1, Math.round(clock.elapsed() - startedMs)) })
    }
  }
  return runs
}

async function ask(manifest: Manifest, instance: Instance, action: string, input: unknown): Promise<unknown> {
  const timeoutMs = Math.min(manifest.actions[action]?.timeout_ms ?? 0, manifest.timeouts.start_ms)
  try {
    const { output } = await instance.call({
      action,
      input,
      timeoutMs,
      artifact: (name, media_type, bytes) =>
        Promise.resolve({ name, sha256: '', bytes: bytes.byteLength, media_type }), // nobody would read it
    })
    return output
  } catch (cause) {
    throw failure(manifest.id, `${action}: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
  }
}

/** Whether `given` has everything that `expected` has; lists must be equal in length. */
function contains(given: unknown, expected: unknown): boolean {
  if (expected === undefined) return true
  if (typeof expected !== 'object' || expected === null) return Object.is(given, expected)
  if (typeof given !== 'object' || given === null) return false
  if (Array.isArray(expected) && (!Array.isArray(given) || given.length !== expected.length)) return false
  return Object.entries(expected).every(([key, value]) =>
    contains((given as Record<string, unknown>)[key], value),
  )
}

function failure(module: string, reason: string, cause?: unknown): NexusError {
  return new NexusError('MODULE_START_FAILED', { module, phase: 'self_test', reason }, { cause })
}

function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
