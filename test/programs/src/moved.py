# Descriptors of folders, and the working directory, are the folder wherever it is now. In a folder of its own below argv[1].
import os
import shutil
import sys

base = f'{sys.argv[1]}/moved-{os.getpid()}'
at = lambda name: f'{base}/{name}'
FOLDER = os.O_RDONLY | os.O_DIRECTORY

os.makedirs(at('a/in'))
os.mkdir(at('a-like'))
outer, inner, like = (os.open(at(name), FOLDER) for name in ('a', 'a/in', 'a-like'))
os.rename(at('a'), at('b/'))
os.mkdir('by-outer', dir_fd=outer)
os.mkdir('by-inner', dir_fd=inner)
os.mkdir('by-like', dir_fd=like)
print(sorted(os.listdir(at('b'))), os.listdir(at('b/in')), os.listdir(at('a-like')), os.path.exists(at('a')))

os.chdir(at('b'))
os.rename(at('b'), at('c'))
os.mkdir('by-working-directory')
print(sorted(os.listdir('.')), sorted(os.listdir(at('c'))), os.path.basename(os.getcwd()))

# What has the old name now is another folder.
os.mkdir(at('b'))
os.mkdir('again', dir_fd=outer)
print(os.listdir(at('b')), sorted(os.listdir(at('c'))))
os.chdir('/')
shutil.rmtree(base)
print(os.path.exists(base))
