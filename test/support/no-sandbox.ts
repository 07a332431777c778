import { spawnSync } from 'node:child_process'

/** Why bubblewrap cannot be used on this machine, asked without the daemon; false when it can. */
export function noSandbox(account: { uid?: number; gid?: number } = {}): string | false {
  const { status, stderr, error } = spawnSync(
    'bwrap',
    ['--unshare-all', '--ro-bind', '/', '/', 'true'],
    account,
  )
  if (status === 0) return false
  return `no sandbox works here: ${error?.message ?? String(stderr).trim()}`
}
