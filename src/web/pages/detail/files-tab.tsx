/** The files of the instance: walk through them, take some out, put some in. */
import { Anchor, Breadcrumbs, Button, FileButton, Group, Progress, Text } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Download, File, Folder, FolderOpen, Link2, Moon, RotateCw, Upload } from 'lucide-react'
import { useState } from 'react'
import type { DragEvent } from 'react'
import { useSearchParams } from 'wouter'
import { apiPath, call, part } from '../../api/http.ts'
import { isServing } from '../../api/lifecycle.ts'
import type { Directory, Instance } from '../../api/types.ts'
import { formatBytes, formatTime } from '../../components/format.ts'
import { tellDone, tellError } from '../../components/notice.tsx'
import { EmptyState, ErrorState, LoadingRows } from '../../components/states.tsx'
import { upload } from './upload.ts'

type Entry = Directory['entries'][number]

export function FilesTab({ instance }: { readonly instance: Instance }) {
  const [search, setSearch] = useSearchParams()
  const path = search.get('path') ?? '/'
  const queries = useQueryClient()
  const [sent, setSent] = useState<number | null>(null)
  const serving = isServing(instance)
  const key = ['directory', instance.id, path]
  const listing = useQuery({
    queryKey: key,
    queryFn: ({ signal }) => call<Directory>('GET', `/instances/${part(instance.id)}/directory`, { query: { path }, signal }),
    enabled: serving,
  })
  const go = (to: string) => setSearch({ path: to })

  const put = async (files: readonly File[]) => {
    try {
      for (const file of files) {
        setSent(0)
        await upload(instance.id, join(path, file.name), file, setSent)
      }
      if (files.length > 0) tellDone(files.length === 1 ? `${files[0]?.name ?? ''} uploaded` : `${files.length} files uploaded`)
    } catch (error) {
      tellError('The upload did not work', error)
    } finally {
      setSent(null)
      await queries.invalidateQueries({ queryKey: key })
    }
  }
  const onDrop = (event: DragEvent) => {
    event.preventDefault()
    void put([...event.dataTransfer.files])
  }

  if (!serving) {
    return (
      <div className="panel">
        <EmptyState icon={instance.phase === 'standby' ? Moon : FolderOpen} title={instance.phase === 'standby' ? 'It sleeps' : 'No VM runs'} command={`berth ${instance.phase === 'standby' ? 'restore' : 'start'} ${instance.name}`}>
          The files of an instance can be reached while it runs; it is {instance.phase}.
        </EmptyState>
      </div>
    )
  }
  return (
    <div className="panel" onDrop={onDrop} onDragOver={event => event.preventDefault()}>
      <Group className="panel-head" justify="space-between" gap="sm">
        <Crumbs path={path} onGo={go} />
        <Group gap="xs">
          <Button variant="default" leftSection={<RotateCw size={14} />} onClick={() => void listing.refetch()} loading={listing.isFetching}>
            Refresh
          </Button>
          <FileButton multiple onChange={files => void put(files)} inputProps={{ 'aria-label': 'Files to upload' }}>
            {props => (
              <Button {...props} leftSection={<Upload size={14} />} loading={sent !== null}>
                Upload
              </Button>
            )}
          </FileButton>
        </Group>
      </Group>
      {sent !== null && <Progress value={sent * 100} size="sm" radius={0} aria-label="Upload" />}
      {listing.error !== null ? (
        <ErrorState error={listing.error} onRetry={() => void listing.refetch()} />
      ) : listing.data === undefined ? (
        <LoadingRows />
      ) : (
        <Listing id={instance.id} directory={listing.data} onGo={go} />
      )}
    </div>
  )
}

function Listing({ id, directory, onGo }: { readonly id: string; readonly directory: Directory; readonly onGo: (path: string) => void }) {
  const { path, entries, truncated } = directory
  if (entries.length === 0) {
    return (
      <EmptyState icon={FolderOpen} title="Nothing here">
        Drop files here, or upload some.
      </EmptyState>
    )
  }
  return (
    <div className="table-scroll" style={{ maxHeight: '62vh', overflowY: 'auto' }} tabIndex={0} role="region" aria-label="Files">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col" className="wide-only" style={{ textAlign: 'right' }}>
              Size
            </th>
            <th scope="col" className="wide-only">
              Mode
            </th>
            <th scope="col" className="wide-only">
              Owner
            </th>
            <th scope="col" className="wide-only">
              Changed
            </th>
            <th scope="col">
              <span className="visually-hidden">Download</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {entries.map(entry => (
            <EntryRow key={entry.name} id={id} path={join(path, entry.name)} entry={entry} onGo={onGo} />
          ))}
        </tbody>
      </table>
      {truncated && (
        <Text size="sm" c="dimmed" p="sm">
          There are more; these are the first {entries.length}.
        </Text>
      )}
    </div>
  )
}

const ICONS = { directory: Folder, file: File, symlink: Link2, other: File }

function EntryRow({ id, path, entry, onGo }: { readonly id: string; readonly path: string; readonly entry: Entry; readonly onGo: (path: string) => void }) {
  const Icon = ICONS[entry.kind]
  const opens = entry.kind === 'directory' || entry.kind === 'symlink'
  const size = entry.kind === 'file' ? formatBytes(entry.sizeBytes) : null
  const changed = entry.modifiedAt === null || Date.parse(entry.modifiedAt) === 0 ? null : formatTime(entry.modifiedAt)
  const note = [size, changed].filter(word => word !== null).join(' · ')
  return (
    <tr>
      <td>
        <Group gap={8} wrap="nowrap">
          <Icon size={15} aria-label={entry.kind} color="var(--berth-muted)" style={{ flex: 'none' }} />
          {opens ? (
            <Anchor component="button" type="button" inherit onClick={() => onGo(path)} ta="left" className="file-name">
              {entry.name}
            </Anchor>
          ) : (
            <span className="file-name">{entry.name}</span>
          )}
          {entry.linkTarget !== null && (
            <Text span size="xs" c="dimmed" className="file-name">
              → {entry.linkTarget}
            </Text>
          )}
        </Group>
        {note !== '' && (
          <Text size="xs" c="dimmed" className="narrow-only numeric" pl={23}>
            {note}
          </Text>
        )}
      </td>
      <td className="wide-only numeric" style={{ textAlign: 'right' }}>
        {size}
      </td>
      <td className="wide-only mono">{entry.kind === 'other' ? '' : entry.mode.toString(8).padStart(4, '0')}</td>
      <td className="wide-only numeric">{entry.kind === 'other' ? '' : `${entry.uid}:${entry.gid}`}</td>
      <td className="wide-only numeric">{changed ?? '–'}</td>
      <td style={{ textAlign: 'right' }}>
        {entry.kind === 'file' && (
          <Anchor href={apiPath(`/instances/${part(id)}/files`, { path })} download={entry.name} aria-label={`Download ${entry.name}`}>
            <Download size={15} />
          </Anchor>
        )}
      </td>
    </tr>
  )
}

function Crumbs({ path, onGo }: { readonly path: string; readonly onGo: (path: string) => void }) {
  const names = path.split('/').filter(name => name !== '')
  return (
    <Breadcrumbs separator="›" separatorMargin={6} style={{ flexWrap: 'wrap' }}>
      {['', ...names].map((name, index) => {
        const to = `/${names.slice(0, index).join('/')}`
        return (
          <Anchor key={to} component="button" type="button" size="sm" onClick={() => onGo(to)} {...(index === names.length ? { 'aria-current': 'page' as const } : {})}>
            {name === '' ? 'root' : name}
          </Anchor>
        )
      })}
    </Breadcrumbs>
  )
}

function join(path: string, name: string): string {
  return path.endsWith('/') ? path + name : `${path}/${name}`
}
