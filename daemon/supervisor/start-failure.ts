import { NexusError } from '../contracts/failure.ts'

/** Exit code 78 (sysexits: configuration): no retry until code or settings change. */
export const EXIT_CONFIG = 78

/** Whatever kept a module from starting, as `MODULE_START_FAILED` with phase and reason. */
export function toStartFailure(module: string, error: unknown): NexusError {
  if (error instanceof NexusError && error.code === 'MODULE_START_FAILED') return error
  // What the catalog or the settings refuse is refused again until somebody changes it.
  const unloadable = error instanceof NexusError ? 1 : 0
  const facts = { module, phase: 'prepare', reason: reasonOf(error), unloadable }
  return new NexusError('MODULE_START_FAILED', facts, { cause: error })
}

/** Syntax errors, missing exports and wrong settings do not heal by waiting. */
export function isFinal({ facts }: NexusError): boolean {
  const { unloadable, config_error: configError, exit_code: exitCode } = facts
  return unloadable === 1 || configError === 1 || exitCode === EXIT_CONFIG
}

/** It came up, but was no longer wanted: that is no failure. */
export function wasLetGo(error: unknown): boolean {
  return error instanceof NexusError && error.facts['let_go'] === 1
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
