import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const PEERS = ['pm2@7.0.4', 'wattpm@3.67.0', '@platformatic/node@3.65.0', 'node@24']

/** Installs what NEXUS is compared with into a folder outside the project; supervisord comes with the system. */
export function installPeers(dir: string): void {
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'package.json'), '{"private":true}')
  const { status } = spawnSync('npm', ['install', '--no-audit', '--no-fund', ...PEERS], {
    cwd: dir,
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error(`npm install in ${dir} ended with ${status}`)
}
