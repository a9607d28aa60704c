import { uploadFolder } from '@espalier/data/hub';

// HF_TOKEN=… npx tsx examples/hub/upload.ts runs/sums/checkpoints/latest me/my-model
const [folder, name] = process.argv.slice(2);
if (!folder || !name) throw new Error('usage: upload.ts FOLDER OWNER/NAME');
const { files, url } = await uploadFolder(folder, name, { message: 'Trained with Espalier' });
console.log(`${files.join(', ')}\n${url}`);
